"""The training state: everything that a checkpoint must hold for a bit-exact resume."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from mils_jax.random_streams import stream_key
from mils_jax.training.plan import StepPlan


@struct.dataclass
class EpochSums:
  """Sums over the epoch's steps so far, so that an epoch's metrics survive a stop in its middle.

  Attributes:
    loss: sum of the losses of all examples (label smoothing included).
    correct: number of examples whose largest logit is their label's.
    count: number of examples.
  """

  loss: jax.Array
  correct: jax.Array
  count: jax.Array

  @classmethod
  def zero(cls) -> 'EpochSums':
    return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


@struct.dataclass
class NonFinite:
  """Non-finite values met so far.

  Attributes:
    count: number of steps so far with a non-finite value.
    step: the latest of them, -1 while there is none.
    kind: index into `KINDS` of the first non-finite value in that step.
  """

  KINDS: ClassVar[tuple[str, ...]] = ('loss', 'gradient', 'parameter')

  count: jax.Array
  step: jax.Array
  kind: jax.Array

  @classmethod
  def none(cls) -> 'NonFinite':
    return cls(jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32), jnp.zeros((), jnp.int32))


@struct.dataclass
class TrainState:
  """The whole state of a run.

  Attributes:
    step: number of finished steps.
    params: trained parameters.
    batch_stats: running statistics, of the batch normalisations and of the channels.
    schedules: scheduled values that the model reads, such as its attention's temperature, at the last step; evaluation
      uses them.
    optimizer_state: state of the optax optimizer.
    sums: sums of the current epoch's metrics.
    not_finite: non-finite values met so far.
    average: exponential moving average of the parameters and batch statistics; None where none is kept.
  """

  COLLECTIONS: ClassVar[tuple[str, ...]] = ('params', 'batch_stats', 'schedules')

  step: jax.Array
  params: Any
  batch_stats: Any
  schedules: dict[str, jax.Array]
  optimizer_state: optax.OptState
  sums: EpochSums
  not_finite: NonFinite
  average: Any = None

  @property
  def collections(self) -> dict:
    """The non-empty collections of the model from which training continues."""
    return {name: getattr(self, name) for name in self.COLLECTIONS if getattr(self, name)}

  @property
  def variables(self) -> dict:
    """The variables for the model's apply that are validated, tested and exported."""
    return self.collections | {name: values for name, values in (self.average or {}).items() if values}


def scheduled_values(schedules: Mapping[str, optax.Schedule], step: jax.Array | int) -> dict[str, jax.Array]:
  """The value of every schedule at a step, float32."""
  return {name: jnp.asarray(schedule(step), jnp.float32) for name, schedule in schedules.items()}


def state_creator(plan: StepPlan, image_shape: tuple[int, int, int]) -> Callable[[], TrainState]:
  """The compiled function that creates the state before the first step, for images (H, W, input channels)."""
  return jax.jit(lambda: first_state(plan, initial_variables(plan.model, plan.train.seed, image_shape)))


def initial_variables(model: nn.Module, seed: int, image_shape: tuple[int, int, int]) -> Mapping:
  """The model's randomly initialised variables."""
  return model.init(stream_key(seed, 'initialise'), jnp.zeros((1, *image_shape)), train=False)


def first_state(plan: StepPlan, variables: Mapping) -> TrainState:
  """The state before the first step, from the model's variables."""
  params, batch_stats = variables['params'], variables.get('batch_stats', {})
  average = {'params': params, 'batch_stats': batch_stats} if plan.train.ema_decay else None
  return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, scheduled_values(plan.schedules, 0),
                    plan.optimizer.init(params), EpochSums.zero(), NonFinite.none(), average)

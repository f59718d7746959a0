"""What training changes: everything that a checkpoint must hold for a run to go on as if never stopped."""

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
    loss: of all examples (label smoothing included).
    correct: examples whose largest logit is their label's.
    count: examples.
  """

  loss: jax.Array
  correct: jax.Array
  count: jax.Array

  @classmethod
  def zero(cls) -> 'EpochSums':
    return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))


@struct.dataclass
class NonFinite:
  """What was infinite or no number.

  Attributes:
    count: steps so far in which anything was.
    step: the latest of them, -1 while there is none.
    kind: index into `KINDS` of what it began with in that step.
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
    schedules: scheduled values that the model reads, such as its attention's temperature, as of the last step; what
      evaluation uses.
    optimizer_state: optax's.
    sums: metrics of the current epoch.
    not_finite: steps that went wrong.
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
    """The model's collections that hold anything, as training goes on from them."""
    return {name: getattr(self, name) for name in self.COLLECTIONS if getattr(self, name)}

  @property
  def variables(self) -> dict:
    """What is validated, tested and handed out: what the model's apply takes."""
    return self.collections | {name: values for name, values in (self.average or {}).items() if values}


def scheduled_values(schedules: Mapping[str, optax.Schedule], step: jax.Array | int) -> dict[str, jax.Array]:
  """Every schedule's value at a step, float32."""
  return {name: jnp.asarray(schedule(step), jnp.float32) for name, schedule in schedules.items()}


def state_creator(plan: StepPlan, image_shape: tuple[int, int, int]) -> Callable[[], TrainState]:
  """The compiled function that makes the state before the first step, for images (H, W, input channels)."""
  return jax.jit(lambda: first_state(plan, initial_variables(plan.model, plan.train.seed, image_shape)))


def initial_variables(model: nn.Module, seed: int, image_shape: tuple[int, int, int]) -> Mapping:
  """What the model draws before the first step."""
  return model.init(stream_key(seed, 'initialise'), jnp.zeros((1, *image_shape)), train=False)


def first_state(plan: StepPlan, variables: Mapping) -> TrainState:
  """The state before the first step, from the model's variables."""
  params, batch_stats = variables['params'], variables.get('batch_stats', {})
  average = {'params': params, 'batch_stats': batch_stats} if plan.train.ema_decay else None
  return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, scheduled_values(plan.schedules, 0),
                    plan.optimizer.init(params), EpochSums.zero(), NonFinite.none(), average)

"""What training changes: everything that a checkpoint must hold for a run to go on as if never stopped."""

from typing import Any, ClassVar

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from mils_jax.random_streams import stream_key


@flax.struct.dataclass
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


@flax.struct.dataclass
class NotFinite:
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
  def none(cls) -> 'NotFinite':
    return cls(jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32), jnp.zeros((), jnp.int32))


@flax.struct.dataclass
class TrainState:
  """The whole state of a run.

  Attributes:
    step: number of finished steps.
    params: trained parameters.
    batch_stats: running statistics of the batch normalisations.
    optimizer_state: optax's.
    sums: metrics of the current epoch.
    not_finite: steps that went wrong.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  optimizer_state: optax.OptState
  sums: EpochSums
  not_finite: NotFinite

  @property
  def variables(self) -> dict:
    """What the model's apply takes."""
    return {'params': self.params, 'batch_stats': self.batch_stats}


def create_state(model: nn.Module, optimizer: optax.GradientTransformation, image_shape: tuple[int, int, int],
                 seed: int) -> TrainState:
  """The state before the first step.

  Args:
    model: called with (images, train).
    optimizer: of the parameters.
    image_shape: (H, W, slots).
    seed: of the run.
  """
  def create() -> TrainState:
    variables = model.init(stream_key(seed, 'initialise'), jnp.zeros((1, *image_shape)), train=False)
    params = variables['params']
    return TrainState(jnp.zeros((), jnp.int32), params, variables.get('batch_stats', {}), optimizer.init(params),
                      EpochSums.zero(), NotFinite.none())

  return jax.jit(create)()

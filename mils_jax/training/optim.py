"""Optimizers and learning rates, by optax."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from mils_jax.config import Section, option
from mils_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class OptimizerOptions(Section):
  """How parameters follow their gradients, and the learning rate: linear warm-up, then a half cosine to 0."""

  section: ClassVar[str] = 'optimizer'

  name: str = option('sgd', 'sgd adds the decay to the gradient, as PyTorch does; adamw decouples it',
                     choices=('sgd', 'adamw'))
  learning_rate: float = option(0.1, 'the highest; a cosine takes it to 0', low=0)
  momentum: float = option(0.9, 'of sgd; of adamw the decay of the first moment', low=0, below=1)
  weight_decay: float = option(5e-4, 'strength of the weight decay', low=0)
  decay_all: bool = option(False, 'also decay scales and biases, as the report does')
  warmup_epochs: float = option(0.5, 'epochs of linear warm-up, may be a fraction', low=0)
  clip_norm: float = option(0.0, 'largest global norm of a gradient, longer ones are scaled down; 0: none are', low=0)
  stepped_per_epoch: bool = option(False, 'hold the learning rate during an epoch, as the report does')

  def schedule(self, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate by step ("SGDR", Loshchilov & Hutter, ICLR 2017, https://arxiv.org/abs/1608.03983).

    The warm-up changes every step even where the cosine is held: a held one would start with an epoch at rate 0.

    Raises:
      UserError: the warm-up takes the whole run.
    """
    if self.warmup_epochs >= epochs:
      raise UserError(f'optimizer.warmup_epochs={self.warmup_epochs}: must be below train.epochs={epochs}')
    warmup = round(self.warmup_epochs * steps_per_epoch)
    by_step = optax.warmup_cosine_decay_schedule(0.0 if warmup else self.learning_rate, self.learning_rate, warmup,
                                                 epochs * steps_per_epoch)
    if not self.stepped_per_epoch:
      return by_step

    def by_epoch(step: Any) -> jax.typing.ArrayLike:
      epoch_start = step // steps_per_epoch * steps_per_epoch
      return by_step(jnp.where(step < warmup, step, jnp.maximum(epoch_start, warmup)))

    return by_epoch

  def create(self, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer that follows a learning rate."""
    mask = None if self.decay_all else is_kernel
    if self.name == 'adamw':
      optimizer = optax.adamw(schedule, b1=self.momentum, weight_decay=self.weight_decay, mask=mask)
    else:
      optimizer = optax.chain(optax.add_decayed_weights(self.weight_decay, mask),
                              optax.sgd(schedule, self.momentum or None))
    return optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer) if self.clip_norm else optimizer


def is_kernel(params: Any) -> Any:
  """True for kernels, False for the scales and biases of normalisations and layers."""
  return jax.tree.map(lambda value: value.ndim > 1, params)

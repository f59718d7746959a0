"""Optimisers and learning rates."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from mils_jax.errors import UserError, unknown

OPTIMIZERS = ('sgd', 'adamw')


def cosine_schedule(learning_rate: float, epochs: int, warmup_epochs: float, steps_per_epoch: int,
                    stepped_per_epoch: bool) -> optax.Schedule:
  """A linear warm-up from 0, then a half cosine to 0 ("SGDR", Loshchilov & Hutter, ICLR 2017).

  Args:
    learning_rate: the highest.
    epochs: of the whole run.
    warmup_epochs: of the warm-up, may be a fraction.
    steps_per_epoch: steps in an epoch.
    stepped_per_epoch: hold the cosine during an epoch (the report's recipe) rather than change it every step.
  """
  if not 0 <= warmup_epochs < epochs:
    raise UserError(f'optimizer.warmup_epochs={warmup_epochs}: must be at least 0 and below train.epochs={epochs}')

  def schedule(step: jax.Array) -> jax.Array:
    epoch = step / steps_per_epoch
    held = jnp.floor(epoch) if stepped_per_epoch else epoch
    progress = jnp.clip((held - warmup_epochs) / (epochs - warmup_epochs), 0.0, 1.0)
    cosine = learning_rate * 0.5 * (1 + jnp.cos(jnp.pi * progress))
    # The warm-up changes every step even where the cosine is held: a held one would begin with an epoch at rate 0.
    return jnp.where(epoch < warmup_epochs, learning_rate * epoch / max(warmup_epochs, 1e-9), cosine)

  return schedule


def is_weight(params: Any) -> Any:
  """True for kernels, False for the scales and biases of normalisations and layers."""
  return jax.tree.map(lambda value: value.ndim > 1, params)


def create_optimizer(name: str, schedule: optax.Schedule, momentum: float, weight_decay: float,
                     decay_all: bool) -> optax.GradientTransformation:
  """An optimiser with weight decay.

  Args:
    name: 'sgd' (decay added to the gradient, as in PyTorch) or 'adamw' (decoupled decay).
    schedule: learning rate by step.
    momentum: of SGD; AdamW's first moment decay.
    weight_decay: its strength.
    decay_all: decay norms and biases too (the report's recipe), rather than only kernels.
  """
  mask = None if decay_all else is_weight
  if name == 'sgd':
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), optax.sgd(schedule, momentum or None))
  if name == 'adamw':
    return optax.adamw(schedule, b1=momentum, weight_decay=weight_decay, mask=mask)
  raise unknown('optimizer.name', name, OPTIMIZERS)

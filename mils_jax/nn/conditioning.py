"""Conditioning on the input's channels: every stage of a network is told which are there, and what their values are.

A convolution sees a missing channel as zeros, which also is what a present one looks like where it is average. Only
the mask tells the two apart, and features that mean the same whichever channels they were computed from need it at
every depth.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

CONDITIONINGS = ('none', 'presence', 'statistics')
BOUNDS = tuple(step / 2 for step in range(-4, 5))  # -2 to 2, in standard deviations: where values are counted
STATISTICS = len(BOUNDS) + 4  # of each channel


def channel_statistics(images: jax.Array, present: jax.Array) -> jax.Array:
  """How each channel's values are distributed and how they change from pixel to pixel, free of where they stand.

  What is known as good features for a random forest on spectral bands (percentiles and gradients), in a form that has
  gradients and is bounded: instead of percentiles, the share of pixels above each of nine fixed values, softened.

  Args:
    images: (B, H, W, C), normalised, finite.
    present: (B, C) bool.

  Returns:
    (B, C, STATISTICS) float32, zero for missing channels.
  """
  x = images.astype(jnp.float32)
  above = [jnp.clip(2 * (x - bound), -1, 1).mean(axis=(1, 2)) for bound in BOUNDS]
  steps = [jnp.abs(jnp.diff(x, axis=axis)).sum(axis=(1, 2)) / x[0, ..., 0].size for axis in (1, 2)]  # one pixel: 0
  sizes = [jnp.log(size + 0.01) / 2 for size in (jnp.sqrt(x.var(axis=(1, 2)) + 1e-6), *steps)]  # about -2 to 1
  statistics = jnp.stack([*above, jnp.tanh(x.mean(axis=(1, 2)) / 2), *sizes], axis=-1)
  return jnp.where(present[..., None], statistics, 0.0)


def channel_condition(kind: str, images: jax.Array, present: jax.Array) -> jax.Array | None:
  """What a network is told about its input's channels.

  Args:
    kind: 'presence': the mask; 'statistics': the mask and `channel_statistics`; 'none': nothing.
    images: (B, H, W, C), normalised, missing channels zero.
    present: (B, C) bool.

  Returns:
    (B, D) float32; None where the kind is 'none'.

  Raises:
    ValueError: the kind is unknown.
  """
  if kind not in CONDITIONINGS:
    raise ValueError(f"conditioning '{kind}' is none of {', '.join(CONDITIONINGS)}")
  if kind == 'none':
    return None
  mask = present.astype(jnp.float32)
  if kind == 'presence':
    return mask
  return jnp.concatenate([mask, channel_statistics(images, present).reshape(len(images), -1)], axis=-1)


class Film(nn.Module):
  """Scales and shifts each feature by what a condition says; the identity at the start.

  "FiLM: Visual Reasoning with a General Conditioning Layer" (Perez et al., AAAI 2018, https://arxiv.org/abs/1709.07871).

  Attributes:
    hidden: units between the condition and the gains and shifts.
  """

  hidden: int = 32

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array | None) -> jax.Array:
    """(B, H, W, C) and (B, D) -> (B, H, W, C); a condition of None leaves x as it is."""
    if condition is None:
      return x
    units = nn.relu(nn.Dense(self.hidden, name='hidden')(condition))
    both = nn.Dense(2 * x.shape[-1], kernel_init=nn.initializers.zeros, name='gain_and_shift')(units)
    gain, shift = jnp.split(both.astype(x.dtype)[:, None, None, :], 2, axis=-1)
    return x * (1 + gain) + shift


class ConditionFeatures(nn.Module):
  """Features of the condition itself, for the classifier to have beside those of the convolutions.

  Attributes:
    width: of its two layers.
    dropout: rate behind each of them, from the stream 'dropout'.
  """

  width: int = 128
  dropout: float = 0.2

  @nn.compact
  def __call__(self, pooled: jax.Array, condition: jax.Array | None, train: bool) -> jax.Array:
    """(B, F) and (B, D) -> (B, F + width); a condition of None leaves `pooled` as it is."""
    if condition is None:
      return pooled
    x = condition
    for number in (1, 2):
      x = nn.relu(nn.Dense(self.width, name=f'hidden{number}')(x))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return jnp.concatenate([pooled, x], axis=-1)

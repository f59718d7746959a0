"""The input slots of a network: pictures with fewer channels than it has, and channels that are absent."""

import jax
import jax.numpy as jnp


def fill_slots(images: jax.Array, slots: int, present: jax.Array | None = None) -> jax.Array:
  """Appends zero channels up to the number of slots and clears the absent ones.

  Args:
    images: (B, H, W, C), C <= slots.
    slots: number of input slots.
    present: (B, C) bool, False where a sample lacks the channel; None: all are there. What stands in an absent place,
      be it NaN, never reaches the result.

  Returns:
    (B, H, W, slots).

  Raises:
    ValueError: more channels than slots.
  """
  channels = images.shape[-1]
  if channels > slots:
    raise ValueError(f'{channels} channels given, at most {slots} fit')
  if present is not None:
    images = jnp.where(present[:, None, None, :], images, 0)
  return jnp.pad(images, ((0, 0), (0, 0), (0, 0), (0, slots - channels))) if channels < slots else images

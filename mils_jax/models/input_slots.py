"""The input slots of a network: which channels are there, and what stands where one is absent."""

import jax
import jax.numpy as jnp
from flax import linen as nn

FILLS = ('zero', 'learned', 'mlp')
MLP_WIDTH = 32  # hidden units of the filling MLP: a few per channel for the usual 3 to 13


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


class InputSlots(nn.Module):
  """Puts pictures into a network's slots and fills the absent ones.

  Attributes:
    slots: number of input slots.
    fill: of absent slots. zero: 0, which is the mean after normalisation (report, section I); learned: a trained value
      for each slot (the report's "learnable padding"); mlp: what a small MLP predicts at each pixel from the channels
      that are there and the mask (the report's "MLP-based channel expansion").
    rescale: multiply the present channels by slots / their number, as hierarchical channel sampling does ("Channel
      Vision Transformers", Bao et al., ICLR 2024).
    dtype: of the computation.
  """

  slots: int
  fill: str = 'zero'
  rescale: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array, present: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Fills the slots.

    Args:
      images: (B, H, W, C <= slots), normalised.
      present: (B, C) bool, False where a sample lacks the channel; None: all C are there.

    Returns:
      (B, H, W, slots), and which slots have a channel (B, slots).

    Raises:
      ValueError: more channels than slots, or an unknown fill.
    """
    if self.fill not in FILLS:
      raise ValueError(f"fill '{self.fill}' is none of {', '.join(FILLS)}")
    batch, _, _, channels = images.shape
    x = fill_slots(images, self.slots, present).astype(self.dtype)
    present = jnp.ones((batch, channels), bool) if present is None else present
    present = jnp.pad(present, ((0, 0), (0, self.slots - channels)))
    if self.rescale:
      factor = self.slots / jnp.maximum(present.sum(axis=1), 1)  # (B,)
      x *= factor[:, None, None, None].astype(x.dtype)
    if self.fill == 'learned':
      value = self.param('value', nn.initializers.zeros, (self.slots,)).astype(x.dtype)
      x = jnp.where(present[:, None, None, :], x, value)
    elif self.fill == 'mlp':
      x = jnp.where(present[:, None, None, :], x, self._predict(x, present))
    return x, present

  def _predict(self, x: jax.Array, present: jax.Array) -> jax.Array:
    """A value for every slot at every pixel, (B, H, W, slots)."""
    # The mask is the same at every pixel, so its part of the first layer is computed once per picture.
    of_mask = nn.Dense(MLP_WIDTH, dtype=self.dtype, name='hidden_mask')(present.astype(x.dtype))
    of_values = nn.Dense(MLP_WIDTH, use_bias=False, dtype=self.dtype, name='hidden')(x)
    return nn.Dense(self.slots, dtype=self.dtype, name='predict')(nn.relu(of_values + of_mask[:, None, None, :]))

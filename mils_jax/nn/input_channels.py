"""The input channels of a network: which channels are there, and what stands where one is missing."""

import jax
import jax.numpy as jnp
from flax import linen as nn

IMPUTATIONS = ('zero', 'learned', 'mlp')
MLP_WIDTH = 32  # hidden units of the imputing MLP: a few per channel for the usual 3 to 13


def pad_channels(images: jax.Array, in_channels: int, present: jax.Array | None = None) -> jax.Array:
  """Appends zero channels up to in_channels and clears the missing ones.

  Args:
    images: (B, H, W, C), C <= in_channels.
    in_channels: number of input channels.
    present: (B, C) bool, False where a sample lacks the channel; None: all are there. What stands in a missing one, be
      it NaN, never reaches the result.

  Returns:
    (B, H, W, in_channels).

  Raises:
    ValueError: more channels than in_channels.
  """
  channels = images.shape[-1]
  if channels > in_channels:
    raise ValueError(f'{channels} channels given, at most {in_channels} fit')
  if present is not None:
    images = jnp.where(present[:, None, None, :], images, 0)
  return jnp.pad(images, ((0, 0), (0, 0), (0, 0), (0, in_channels - channels))) if channels < in_channels else images


class InputChannels(nn.Module):
  """Pads images to a network's input channels and imputes the missing ones.

  Attributes:
    in_channels: number of input channels.
    imputation: of missing channels. zero: 0, which is the mean after normalisation (report, section I); learned: a
      trained value for each (the report's "learnable padding"); mlp: what a small MLP predicts at each pixel from the
      channels that are there and the mask (the report's "MLP-based channel expansion").
    rescale: multiply the present channels by the number of input channels / their number, as ChannelViT does in
      training ("Channel Vision Transformers", Bao et al., ICLR 2024, https://arxiv.org/abs/2309.16108).
    dtype: of the computation.
  """

  in_channels: int
  imputation: str = 'zero'
  rescale: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, images: jax.Array, present: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Pads and imputes.

    Args:
      images: (B, H, W, C <= in_channels), normalised.
      present: (B, C) bool, False where a sample lacks the channel; None: all C are there.

    Returns:
      (B, H, W, in_channels), and which of them are present (B, in_channels).

    Raises:
      ValueError: more channels than in_channels, or an unknown imputation.
    """
    if self.imputation not in IMPUTATIONS:
      raise ValueError(f"imputation '{self.imputation}' is none of {', '.join(IMPUTATIONS)}")
    batch, _, _, channels = images.shape
    x = pad_channels(images, self.in_channels, present).astype(self.dtype)
    present = jnp.ones((batch, channels), bool) if present is None else present
    present = jnp.pad(present, ((0, 0), (0, self.in_channels - channels)))
    if self.rescale:
      factor = self.in_channels / jnp.maximum(present.sum(axis=1), 1)  # (B,)
      x *= factor[:, None, None, None].astype(x.dtype)
    if self.imputation == 'learned':
      value = self.param('value', nn.initializers.zeros, (self.in_channels,)).astype(x.dtype)
      x = jnp.where(present[:, None, None, :], x, value[None, None, None])
    elif self.imputation == 'mlp':
      x = jnp.where(present[:, None, None, :], x, self._predict(x, present))
    return x, present

  def _predict(self, x: jax.Array, present: jax.Array) -> jax.Array:
    """A value for every channel at every pixel, (B, H, W, in_channels)."""
    # The mask is the same at every pixel, so its part of the first layer is computed once per image.
    of_mask = nn.Dense(MLP_WIDTH, dtype=self.dtype, name='hidden_mask')(present.astype(x.dtype))
    of_values = nn.Dense(MLP_WIDTH, use_bias=False, dtype=self.dtype, name='hidden')(x)
    return nn.Dense(self.in_channels, dtype=self.dtype, name='predict')(nn.relu(of_values + of_mask[:, None, None, :]))

"""The input channels of a network: which channels are there, and what stands where one is missing."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.distributed.devices import sum_over_devices

IMPUTATIONS = ('zero', 'learned', 'mlp', 'linear')
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
      channels that are there and the mask (the report's "MLP-based channel expansion"); linear: what LinearImputation
      predicts at each pixel.
    rescale: multiply the present channels by the number of input channels / their number, as ChannelViT does in
      training ("Channel Vision Transformers", Bao et al., ICLR 2024, https://arxiv.org/abs/2309.16108).
    dtype: of the computation.
    axis_name: of the mapped axis whose devices share a batch, as in BatchNorm.
  """

  in_channels: int
  imputation: str = 'zero'
  rescale: bool = False
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, images: jax.Array, present: jax.Array | None = None, train: bool = False,
               mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Pads and imputes.

    Args:
      images: (B, H, W, C <= in_channels), normalised.
      present: (B, C) bool, False where a sample lacks the channel; None: all C are there.
      train: whether LinearImputation learns from these images.
      mask: (B,) 0 for padding, else 1; None: every sample counts.

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
    imputed = None
    if self.imputation == 'linear':
      imputed = LinearImputation(axis_name=self.axis_name, name='linear')(x, present, train, mask)
    if self.rescale:
      factor = self.in_channels / jnp.maximum(present.sum(axis=1), 1)  # (B,)
      x *= factor[:, None, None, None].astype(x.dtype)
    if self.imputation == 'learned':
      imputed = self.param('value', nn.initializers.zeros, (self.in_channels,)).astype(x.dtype)[None, None, None]
    elif self.imputation == 'mlp':
      imputed = self._predict(x, present)
    return x if imputed is None else jnp.where(present[:, None, None, :], x, imputed), present

  def _predict(self, x: jax.Array, present: jax.Array) -> jax.Array:
    """A value for every channel at every pixel, (B, H, W, in_channels)."""
    # The mask is the same at every pixel, so its part of the first layer is computed once per image.
    of_mask = nn.Dense(MLP_WIDTH, dtype=self.dtype, name='hidden_mask')(present.astype(x.dtype))
    of_values = nn.Dense(MLP_WIDTH, use_bias=False, dtype=self.dtype, name='hidden')(x)
    return nn.Dense(self.in_channels, dtype=self.dtype, name='predict')(nn.relu(of_values + of_mask[:, None, None, :]))


class LinearImputation(nn.Module):
  """Predicts each channel at each pixel linearly from those that are there: a Gaussian's mean given its known part.

  Filters that compare channels then see about the same whichever of them are there, where zeros would show them
  differences that no image has. Nothing of it is trained by gradients: the channels' second moments are gathered in
  training, each pair's from the samples that have both.

  Attributes:
    ridge: share of a channel's mean square that is taken for noise; without it, channels that nearly repeat each other
      would be weighed against each other by large factors.
    momentum: share of what was gathered that a training step keeps. Long: pairs are gathered from different samples, so
      those of few steps contradict each other.
    prior: number of samples, of independent channels of mean 0 and mean square 1, that count as seen before the first.
    axis_name: of the mapped axis whose devices share a batch, as in BatchNorm.
  """

  ridge: float = 0.01
  momentum: float = 0.999
  prior: float = 100.0
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, present: jax.Array, train: bool = False,
               mask: jax.Array | None = None) -> jax.Array:
    """Predicts, and in training gathers first.

    Args:
      x: (B, H, W, C), normalised, zero in missing channels.
      present: (B, C) bool.
      train: whether to gather the moments of these images.
      mask: (B,) 0 for padding, else 1; None: every sample counts. Used in training only.

    Returns:
      (B, H, W, C): a prediction of the missing channels, zero for the present ones.
    """
    size = x.shape[-1] + 1  # a constant 1 comes first, so that the channels' means are among the moments
    products = self.variable('batch_stats', 'products', lambda: self.prior * jnp.eye(size))
    samples = self.variable('batch_stats', 'samples', lambda: jnp.full((size, size), self.prior))
    if train and not self.is_initializing():
      sums = _pair_sums(x, present, jnp.ones(len(x)) if mask is None else mask)
      if self.axis_name is not None:
        sums = sum_over_devices(sums, self.axis_name)
      products.value, samples.value = (self.momentum * old.value + new
                                       for old, new in zip((products, samples), sums, strict=True))
    weights = regression_weights(products.value / samples.value, present, self.ridge).astype(x.dtype)
    return jnp.einsum('bhwi,bio->bhwo', x, weights[:, 1:]) + weights[:, None, None, 0]


def _pair_sums(x: jax.Array, present: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Of each pair of (1, channels): the sum over samples of the product's mean over pixels, and how many have both.

  Two arrays (1 + C, 1 + C).
  """
  batch, height, width, _ = x.shape
  values = jnp.concatenate([jnp.ones((batch, height, width, 1)), x.astype(jnp.float32)], axis=-1)
  there = jnp.concatenate([jnp.ones((batch, 1)), present.astype(jnp.float32)], axis=-1)
  products = jnp.einsum('b,bhwi,bhwo->io', mask / (height * width), values, values, precision='highest')
  return jax.lax.stop_gradient((products, jnp.einsum('b,bi,bo->io', mask, there, there)))


def regression_weights(moments: jax.Array, present: jax.Array, ridge: float) -> jax.Array:
  """Weights of a constant and of the present channels in a ridge regression of each missing channel.

  By sweeps, one per present channel ("A Tutorial on the SWEEP Operator", Goodnight, The American Statistician, 1979).

  Args:
    moments: (1 + C, 1 + C), the means of the products of (1, channels) in pairs.
    present: (B, C) bool.
    ridge: what is added to the mean squares, as a share of them.

  Returns:
    (B, 1 + C, C) float32, zero in rows of missing and in columns of present channels.
  """
  size = len(moments)
  given = jnp.concatenate([jnp.ones_like(present[:, :1]), present], axis=1)  # (B, 1 + C)
  noise = ridge * jnp.diagonal(moments) * (jnp.arange(size) > 0)

  def sweep(index: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """(B, 1 + C, 1 + C) and which channels of each sample were swept, (B, 1 + C); and what a converter finds no
    other way into a loop."""
    matrix, swept, given, noise = state
    row, column = matrix[:, index], matrix[:, :, index]
    pivot = row[:, index]
    # Less than a channel's noise is left of it only if moments of different samples contradict each other.
    use = given[:, index] & (pivot >= 0.999 * noise[index])
    at = jnp.arange(size)[None] == index
    row = jnp.where(at, 1.0, row) / jnp.where(use, pivot, 1.0)[:, None]
    others = jnp.where(at[:, None], 0.0, matrix) - jnp.where(at, 0.0, column)[:, :, None] * row[:, None]
    after = jnp.where(at[:, :, None], row[:, None], others)
    return jnp.where(use[:, None, None], after, matrix), swept | (at & use[:, None]), given, noise

  samples = present.shape[0]  # not len(), which an exported batch of any size has not
  matrix = jnp.broadcast_to((moments + jnp.diag(noise))[None], (samples, size, size))
  matrix, swept, _, _ = jax.lax.fori_loop(0, size, sweep, (matrix, jnp.zeros_like(given), given, noise))
  return jnp.where(swept[:, :, None] & ~present[:, None], matrix[:, :, 1:], 0.0)

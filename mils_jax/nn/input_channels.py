"""The input channels of a network: which channels are present, and what stands in for missing ones."""

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
    present: (B, C) bool, False where a sample lacks the channel; None: all are present. The values of a missing
      channel, even NaN, never reach the result.

  Returns:
    (B, H, W, in_channels).

  Raises:
    ValueError: there are more channels than in_channels.
  """
  channels = images.shape[-1]
  if channels > in_channels:
    raise ValueError(f'{channels} channels given, at most {in_channels} fit')
  if present is not None:
    images = jnp.where(present[:, None, None, :], images, 0)
  return jnp.pad(images, ((0, 0), (0, 0), (0, 0), (0, in_channels - channels))) if channels < in_channels else images


class InputChannels(nn.Module):
  """Pads images to a network's input channels and imputes the missing ones.

  Example:
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import InputChannels
    >>> images = jnp.ones((1, 8, 8, 2))  # (B, H, W, C): two of three input channels
    >>> present = jnp.array([[True, False]])  # (B, C): and the second of them is missing
    >>> layer = InputChannels(in_channels=3, rescale=True)  # without parameters
    >>> x, present = layer.apply({}, images, present)
    >>> print(x.shape, x[0, 0, 0], present[0])
    (1, 8, 8, 3) [3. 0. 0.] [ True False False]

  Attributes:
    in_channels: number of input channels.
    imputation: what stands in for missing channels. zero: 0, which is the mean after normalisation (report, section
      I); learned: a trained value for each (the report's "learnable padding"); mlp: what a small MLP predicts at each
      pixel from the present channels and the mask (the report's "MLP-based channel expansion"); linear: what
      LinearImputation predicts at each pixel.
    rescale: multiply the present channels by the number of input channels / their number, as ChannelViT does in
      training ("Channel Vision Transformers", Bao et al., ICLR 2024, https://arxiv.org/abs/2309.16108). Not with
      linear, which leaves no channel empty.
    dtype: dtype of the computation.
    axis_name: name of the mapped axis whose devices share a batch, as in BatchNorm.
  """

  in_channels: int
  imputation: str = 'zero'
  rescale: bool = False
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, images: jax.Array, present: jax.Array | None = None, train: bool = False,
               mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Pads images and imputes their missing channels.

    Args:
      images: (B, H, W, C <= in_channels), normalised.
      present: (B, C) bool, False where a sample lacks the channel; None: all C are present.
      train: whether LinearImputation learns from these images.
      mask: (B,) 0 for padding, else 1; None: every sample counts.

    Returns:
      (B, H, W, in_channels), and which of them are present (B, in_channels).

    Raises:
      ValueError: there are more channels than in_channels, the imputation is unknown, or rescale is used with linear.
    """
    if self.imputation not in IMPUTATIONS:
      raise ValueError(f"imputation '{self.imputation}' is none of {', '.join(IMPUTATIONS)}")
    if self.rescale and self.imputation == 'linear':
      raise ValueError('imputation linear leaves no missing channel to make up for: rescale must be False')
    batch, _, _, channels = images.shape
    x = pad_channels(images, self.in_channels, present).astype(self.dtype)
    present = jnp.ones((batch, channels), bool) if present is None else present
    present = jnp.pad(present, ((0, 0), (0, self.in_channels - channels)))
    if self.rescale:
      factor = self.in_channels / jnp.maximum(present.sum(axis=1), 1)  # (B,)
      x *= factor[:, None, None, None].astype(x.dtype)
    imputed = None
    if self.imputation == 'learned':
      imputed = self.param('value', nn.initializers.zeros, (self.in_channels,))[None, None, None]
    elif self.imputation == 'mlp':
      imputed = self._predict(x, present)
    elif self.imputation == 'linear':
      imputed = LinearImputation(axis_name=self.axis_name, name='linear')(x, present, train, mask)
    # A float32 value makes it float32, in which its gradient is then summed over the pixels (as in `normalise`).
    return x if imputed is None else jnp.where(present[:, None, None, :], x, imputed).astype(x.dtype), present

  def _predict(self, x: jax.Array, present: jax.Array) -> jax.Array:
    """Predicts a value for every channel at every pixel, (B, H, W, in_channels)."""
    # The mask is the same at every pixel, so its part of the first layer is computed once per image.
    of_mask = nn.Dense(MLP_WIDTH, dtype=self.dtype, name='hidden_mask')(present.astype(x.dtype))
    of_values = nn.Dense(MLP_WIDTH, use_bias=False, dtype=self.dtype, name='hidden')(x)
    return nn.Dense(self.in_channels, dtype=self.dtype, name='predict')(nn.relu(of_values + of_mask[:, None, None, :]))


class LinearImputation(nn.Module):
  """Predicts each channel at each pixel linearly from the present ones: a Gaussian's mean given its known part.

  Filters that compare channels then see about the same whichever of them are present; zeros would show them contrasts
  that occur in no image. Nothing here is trained by gradients: the channels' means and covariances are accumulated in
  training, those of each pair from the samples that have both.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import LinearImputation
    >>> first = jax.random.normal(jax.random.key(0), (8, 4, 4, 1))
    >>> x = jnp.concatenate([first, first / 2], axis=-1)  # (B, H, W, C): the second channel follows the first
    >>> layer, both = LinearImputation(prior=0.1), jnp.ones((8, 2), bool)
    >>> variables = layer.init(jax.random.key(1), x, both, train=False)
    >>> _, gathered = layer.apply(variables, x, both, train=True, mutable=['batch_stats'])
    >>> predicted = layer.apply(gathered, x.at[..., 1].set(0), both.at[:, 1].set(False), train=False)
    >>> predicted.shape, bool(jnp.abs(predicted - x)[..., 1].max() < 0.1)
    ((8, 4, 4, 2), True)

  Attributes:
    ridge: share of a channel's variance that counts as noise; without it, channels that nearly repeat each other
      would get large weights of opposite sign.
    momentum: share of the accumulated weight that an update keeps. It is long, because pairs are accumulated from
      different samples.
    prior: number of samples, of independent channels of mean 0 and variance 1, that count as seen before the first.
    axis_name: name of the mapped axis whose devices share a batch, as in BatchNorm.
  """

  ridge: float = 0.01
  momentum: float = 0.999
  prior: float = 100.0
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, present: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
    """Predicts the missing channels, and in training updates the moments first.

    Args:
      x: (B, H, W, C), normalised, zero in missing channels.
      present: (B, C) bool.
      train: whether to accumulate the moments of these images.
      mask: (B,) 0 for padding, else 1; None: every sample counts. Used in training only.

    Returns:
      (B, H, W, C): a prediction of the missing channels, zero for the present ones.
    """
    channels = x.shape[-1]
    mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    products = self.variable('batch_stats', 'products', jnp.eye, channels)  # mean products of two channels
    samples = self.variable('batch_stats', 'samples', jnp.full, (channels, channels), self.prior)  # that have both
    covariance = self.variable('batch_stats', 'covariance', jnp.eye, channels)
    if train and not self.is_initializing():
      new = _batch_moments(x, present, jnp.ones(len(x)) if mask is None else mask)
      if self.axis_name is not None:
        new = sum_over_devices(new, self.axis_name)
      sums, pair_sums, pairs = new
      samples.value = self.momentum * samples.value + pairs
      share = 1 / jnp.maximum(samples.value, 1e-6)  # of a new sample; what no sample has stays as it was
      mean.value += jnp.diagonal(share) * (sums - jnp.diagonal(pairs) * mean.value)
      products.value += share * (pair_sums - pairs * products.value)
      covariance.value = nearest_covariance(products.value - jnp.outer(mean.value, mean.value))
    weights = regression_weights(covariance.value, present, self.ridge)  # (B, C, C)
    of_means = jnp.einsum('i,bio->bo', mean.value, weights, precision='highest')
    offsets = jnp.where(present, 0.0, mean.value[None]) - of_means
    return jnp.einsum('bhwi,bio->bhwo', x, weights.astype(x.dtype)) + offsets[:, None, None].astype(x.dtype)


def _batch_moments(x: jax.Array, present: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Sums over samples of each channel's mean (C,), of the mean product of each pair (C, C), and how many have both."""
  values, there = x.astype(jnp.float32), present.astype(jnp.float32)
  sums = jnp.einsum('b,bc->c', mask, values.mean(axis=(1, 2)), precision='highest')
  pair_sums = jnp.einsum('b,bhwi,bhwo->io', mask / values[0, ..., 0].size, values, values, precision='highest')
  return sums, pair_sums, jnp.einsum('b,bi,bo->io', mask, there, there)


def nearest_covariance(moments: jax.Array) -> jax.Array:
  """A valid covariance matrix near moments (C, C) that were accumulated pair by pair; the variances are kept.

  Pairs that come from different samples can contradict each other: of three channels the first may follow the second
  and the second the third, but not the first the third. Regression on such moments gives channels huge weights. Here
  the negative eigenvalues of the correlations become zero ("Computing the nearest correlation matrix", Higham, IMA
  Journal of Numerical Analysis, 2002, https://doi.org/10.1093/imanum/22.3.329, its first step).
  """
  deviations = jnp.sqrt(jnp.maximum(jnp.diagonal(moments), 1e-6))
  scale = jnp.outer(deviations, deviations)
  eigenvalues, vectors = jnp.linalg.eigh(moments / scale)
  possible = jnp.matmul(vectors * jnp.maximum(eigenvalues, 0)[None], vectors.T, precision='highest')
  lengths = jnp.sqrt(jnp.maximum(jnp.diagonal(possible), 1e-6))
  return possible * scale / jnp.outer(lengths, lengths)


def regression_weights(covariance: jax.Array, present: jax.Array, ridge: float) -> jax.Array:
  """Weights of the present channels in a ridge regression of each missing one.

  It uses one sweep for each present channel ("A Tutorial on the SWEEP Operator", Goodnight, The American Statistician,
  1979, https://www.jstor.org/stable/2683825): elementwise work in a loop, which every platform and converter supports.

  Args:
    covariance: (C, C), without negative eigenvalues.
    present: (B, C) bool.
    ridge: added to the variances, as a share of them.

  Returns:
    (B, C, C) float32, zero in rows of missing and in columns of present channels.
  """
  batch, channels = present.shape
  noise = jnp.maximum(ridge * jnp.diagonal(covariance), 1e-8)  # above 0 for a constant channel too

  # `present` and `noise` are carried along, because jax2onnx converts no loop that takes arrays from around it.
  def sweep(index: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Sweeps (B, C, C) on one channel; the other arrays pass through unchanged."""
    matrix, present, noise = state
    row, column = matrix[:, index], matrix[:, :, index]
    pivot = jnp.maximum(row[:, index], noise[index])[:, None]  # only rounding leaves less than the noise
    at = jnp.arange(channels)[None] == index
    row = jnp.where(at, 1.0, row) / pivot
    others = jnp.where(at[:, None], 0.0, matrix) - jnp.where(at, 0.0, column)[:, :, None] * row[:, None]
    swept = jnp.where(at[:, :, None], row[:, None], others)
    return jnp.where(present[:, index, None, None], swept, matrix), present, noise

  matrix = jnp.broadcast_to((covariance + jnp.diag(noise))[None], (batch, channels, channels))
  matrix, _, _ = jax.lax.fori_loop(0, channels, sweep, (matrix, present, noise))
  return jnp.where(present[:, :, None] & ~present[:, None], matrix, 0.0)

"""Conditioning on the present channels: FiLM tells every stage which they are, and a classifier uses their statistics.

A convolution sees a missing channel as zeros or as an imputed value, and a present one may look like either. Only the
mask tells them apart, and the network needs it at every depth to compute features that mean the same for any channels.
Statistics of single channels do not have this problem, and classify about as well where few channels are present.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

CONDITIONINGS = ('none', 'presence', 'statistics')  # statistics: presence, plus a classifier by statistics
# Usual mean and spread of each of `channel_statistics` for normalised images (two real datasets, with seven optical and
# nine radar channels), so that the embedded values are of order 1.
CENTRES = (0.0, -1.0, 0.2, 1.6, 0.39, -1.2, 1.5, -1.8, -1.8)
SPREADS = (0.75, 0.7, 0.9, 0.5, 0.04, 0.8, 1.2, 0.8, 0.8)
STATISTICS = len(CENTRES)
CONSTANT = 1e-5  # largest range of a channel's values, relative to 1 and to themselves, that is only rounding


def channel_statistics(images: jax.Array, present: jax.Array) -> jax.Array:
  """Statistics of each channel: the distribution of its values and their changes from pixel to pixel.

  These are the mean, the logarithm of the standard deviation, skewness and kurtosis (compressed), the mean excess over
  the mean in standard deviations, the smallest and largest value, and the logarithms of the mean steps along both axes:
  about the input of a random forest on percentiles and gradients, without sorting pixels.

  Example:
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import channel_statistics
    >>> images = jnp.zeros((2, 8, 8, 3))  # (B, H, W, C)
    >>> present = jnp.array([[True, True, True], [True, False, True]])  # (B, C): the second image lacks one
    >>> channel_statistics(images, present).shape
    (2, 3, 9)

  Args:
    images: (B, H, W, C), normalised, finite.
    present: (B, C) bool.

  Returns:
    (B, C, STATISTICS) float32 of order 1, zero for missing channels.
  """
  x = images.astype(jnp.float32)
  mean = x.mean(axis=(1, 2), keepdims=True)
  low, high = x.min(axis=(1, 2)), x.max(axis=(1, 2))
  constant = high - low <= CONSTANT * (1 + jnp.abs(low))  # what rounding leaves of it must not count as a distribution
  centred = jnp.where(constant[:, None, None], 0.0, x - mean)
  variance = jnp.square(centred).mean(axis=(1, 2)) + 1e-6  # a constant image has finite statistics and gradients
  std = jnp.sqrt(variance)
  skewness = (centred ** 3).mean(axis=(1, 2)) / std ** 3
  kurtosis = (centred ** 4).mean(axis=(1, 2)) / variance ** 2
  excess = jnp.maximum(centred, 0).mean(axis=(1, 2)) / std
  steps = [jnp.abs(jnp.diff(x, axis=axis)).sum(axis=(1, 2)) / x[0, ..., 0].size for axis in (1, 2)]  # 0 for one pixel
  found = jnp.stack([mean[:, 0, 0], jnp.log(std), jnp.arcsinh(skewness), jnp.log1p(kurtosis), excess,
                     low, high, *(jnp.log(step + 1e-3) for step in steps)], axis=-1)
  scaled = (found - jnp.array([[CENTRES]])) / jnp.array([[SPREADS]])
  return jnp.where(present[..., None], scaled, 0.0)


class StatisticsEmbedding(nn.Module):
  """Embeds each statistic of each channel as several features: sines and cosines of trained frequencies, then a layer.

  A plain layer on the numbers themselves is slow to learn sharp thresholds, which trees are good at: "On Embeddings for
  Numerical Features in Tabular Deep Learning" (Gorishniy et al., NeurIPS 2022,
  https://arxiv.org/abs/2203.05556), section 3.3.

  Attributes:
    frequencies: number of frequencies per statistic.
    features: number of features per statistic.
  """

  frequencies: int = 16
  features: int = 8

  @nn.compact
  def __call__(self, statistics: jax.Array, present: jax.Array) -> jax.Array:
    """(B, C, S) and (B, C) bool -> (B, C * S * features), zero for missing channels."""
    own = statistics.shape[1:]
    frequencies = self.param('frequencies', nn.initializers.normal(0.5), (*own, self.frequencies))
    angles = 2 * jnp.pi * statistics[..., None] * frequencies[None]  # (B, C, S, F)
    waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    initialise = nn.initializers.lecun_normal(batch_axis=(0, 1))
    kernel = self.param('kernel', initialise, (*own, 2 * self.frequencies, self.features))
    bias = self.param('bias', nn.initializers.zeros, (*own, self.features))
    embedded = nn.relu(jnp.einsum('bcsf,csfo->bcso', waves, kernel) + bias[None])
    kept = jnp.where(present[..., None, None], embedded, 0.0)
    return kept.reshape(kept.shape[0], -1)  # len() fails for an exported batch of any size


class Film(nn.Module):
  """Scales and shifts each feature depending on a condition; the identity at initialisation.

  "FiLM: Visual Reasoning with a General Conditioning Layer" (Perez et al., AAAI 2018, https://arxiv.org/abs/1709.07871).

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import Film
    >>> x = jnp.ones((2, 8, 8, 16))  # (B, H, W, C)
    >>> present = jnp.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])  # (B, D): which of three input channels are there
    >>> y, variables = Film(hidden=8).init_with_output(jax.random.key(0), x, present)
    >>> y.shape, bool((y == x).all())  # the identity, until it is trained
    ((2, 8, 8, 16), True)

  Attributes:
    hidden: number of units between the condition and the gains and shifts.
  """

  hidden: int = 32

  @nn.compact
  def __call__(self, x: jax.Array, condition: jax.Array | None) -> jax.Array:
    """(B, H, W, C) and (B, D) float32 -> (B, H, W, C); a condition of None leaves x as it is."""
    if condition is None:
      return x
    units = nn.relu(nn.Dense(self.hidden, name='hidden')(condition))
    both = nn.Dense(2 * x.shape[-1], kernel_init=nn.initializers.zeros, name='gain_and_shift')(units)
    gain, shift = jnp.split(both.astype(jnp.float32)[:, None, None, :], 2, axis=-1)
    return (x.astype(jnp.float32) * (1 + gain) + shift).astype(x.dtype)  # as in `normalise`


class StatisticsClassifier(nn.Module):
  """Classifies images by their channels' statistics alone, with any present channels.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import StatisticsClassifier
    >>> images = jnp.ones((2, 8, 8, 3)).at[1, :, :, 1].set(0)  # (B, H, W, C)
    >>> present = jnp.array([[True, True, True], [True, False, True]])  # (B, C): the second image lacks one
    >>> layer = StatisticsClassifier(num_classes=10, width=16)
    >>> logits, variables = layer.init_with_output(jax.random.key(0), images, present, train=False)
    >>> logits.shape
    (2, 10)

  Attributes:
    num_classes: number of logits.
    width: width of its two layers.
    dropout: rate before and after each of them, from the stream 'dropout'.
  """

  num_classes: int
  width: int = 256
  dropout: float = 0.2

  @nn.compact
  def __call__(self, images: jax.Array, present: jax.Array, train: bool) -> jax.Array:
    """(B, H, W, C), normalised with zeros in missing channels, and (B, C) bool -> (B, num_classes) logits."""
    x = StatisticsEmbedding(name='embedding')(channel_statistics(images, present), present)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    x = jnp.concatenate([present.astype(jnp.float32), x], axis=-1)
    for number in (1, 2):
      x = nn.relu(nn.Dense(self.width, name=f'hidden{number}')(x))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(self.num_classes, name='classifier')(x)

"""Mean and deviation per channel in one pass with bounded memory."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Moments:
  """Count, mean and sum of squared deviations of each channel's finite values; (C,) float64 each.

  Two of them merge exactly (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
  variances", 1979), so pictures are read once, in pieces of any size.
  """

  count: np.ndarray
  mean: np.ndarray
  squares: np.ndarray

  @classmethod
  def none(cls, channels: int) -> 'Moments':
    return cls(np.zeros(channels), np.zeros(channels), np.zeros(channels))

  @classmethod
  def of(cls, images: np.ndarray) -> 'Moments':
    """The moments of pictures (N, H, W, C) of any number type."""
    channels = images.shape[-1]
    values = images.reshape(len(images), -1).astype(np.float64)  # (N, H * W * C)
    finite = np.isfinite(values)
    shift = np.where(finite[0], values[0], 0).reshape(-1, channels).mean(0)  # near the mean, against cancellation
    values -= np.tile(shift, values.shape[1] // channels)
    if finite.all():
      count = np.full(channels, values.size / channels)
    else:
      values[~finite] = 0
      count = finite.sum(0).reshape(-1, channels).sum(0).astype(np.float64)
    sums = values.sum(0).reshape(-1, channels).sum(0)
    squares = np.einsum('ij,ij->j', values, values).reshape(-1, channels).sum(0)
    mean = sums / np.maximum(count, 1)
    return cls(count, np.where(count > 0, mean + shift, 0), np.maximum(squares - mean * sums, 0))

  def merge(self, other: 'Moments') -> 'Moments':
    count = self.count + other.count
    share = other.count / np.maximum(count, 1)
    difference = other.mean - self.mean
    return Moments(count, self.mean + difference * share,
                   self.squares + other.squares + difference**2 * self.count * share)

  @property
  def std(self) -> np.ndarray:
    """(C,) standard deviation over all values, dividing by their number."""
    return np.sqrt(self.squares / np.maximum(self.count, 1))

"""Mean and deviation per channel in one pass with bounded memory."""

import dataclasses

import numpy as np

VALUES_AT_ONCE = 2**17  # few enough for the processor's cache
EXACT_AT_ONCE = 256  # bytes whose squares' sum float32 holds exactly


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
    flat = images.reshape(len(images), -1)  # (N, H * W * C)
    # Sums are taken about a value near the mean, so that large offsets do not cancel.
    first = flat[0].astype(np.float64)
    shift = np.rint(np.where(np.isfinite(first), first, 0).reshape(-1, channels).mean(0))
    working_type = np.float32 if images.dtype == np.uint8 else np.float64
    shifts = np.tile(shift, len(first) // channels).astype(working_type)
    count, sums, squares = (np.zeros(len(first)) for _ in range(3))
    at_once = min(max(1, VALUES_AT_ONCE // len(first)), EXACT_AT_ONCE)
    for start in range(0, len(flat), at_once):
      values = flat[start:start + at_once].astype(working_type)
      values -= shifts
      if images.dtype.kind == 'f':
        finite = np.isfinite(values)
        values = np.where(finite, values, 0)
        count += finite.sum(0)
      else:
        count += len(values)
      sums += values.sum(0)
      squares += np.einsum('ij,ij->j', values, values)
    count, sums, squares = (total.reshape(-1, channels).sum(0) for total in (count, sums, squares))
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

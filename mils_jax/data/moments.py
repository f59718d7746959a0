"""Mean, standard deviation and range per channel, in one pass with bounded memory."""

import dataclasses

import numpy as np

VALUES_AT_ONCE = 2**18  # few enough for the processor's cache
BYTES_AT_ONCE = 2**16  # the sum of their squares fits uint32


@dataclasses.dataclass(frozen=True)
class Moments:
  """Statistics of each channel's finite values; (C,) float64 each.

  Two of them merge exactly, so images are read once, in pieces of any size ("Updating formulae and a pairwise algorithm
  for computing sample variances", Chan, Golub & LeVeque, COMPSTAT 1982, https://doi.org/10.1007/978-3-642-51461-6_3).

  Attributes:
    count: number of values.
    mean: their mean; 0 without values.
    squares: sum of their squared differences from the mean.
    low, high: smallest and largest value; Inf and -Inf without values.
  """

  count: np.ndarray
  mean: np.ndarray
  squares: np.ndarray
  low: np.ndarray
  high: np.ndarray

  @classmethod
  def none(cls, channels: int) -> 'Moments':
    """The moments of an empty set of images."""
    zero, infinite = np.zeros(channels), np.full(channels, np.inf)
    return cls(zero, zero, zero, infinite, -infinite)

  @classmethod
  def of(cls, images: np.ndarray) -> 'Moments':
    """The moments of images (N, H, W, C) of any dtype, N at least 1."""
    channels = images.shape[-1]
    flat = images.reshape(len(images), -1)  # (N, H * W * C)
    # Sums are taken about a value near the mean, so that large offsets do not cancel.
    first = flat[0].astype(np.float64)
    shift = np.rint(np.where(np.isfinite(first), first, 0).reshape(-1, channels).mean(0))
    add_up = _add_up_bytes if images.dtype == np.uint8 else _add_up
    count, sums, squares = add_up(flat, shift)
    mean = sums / np.maximum(count, 1)
    return cls(count, np.where(count > 0, mean + shift, 0), np.maximum(squares - mean * sums, 0), *_extremes(images))

  def merge(self, other: 'Moments') -> 'Moments':
    count = self.count + other.count
    share = other.count / np.maximum(count, 1)
    difference = other.mean - self.mean
    return Moments(count, self.mean + difference * share,
                   self.squares + other.squares + difference**2 * self.count * share,
                   np.minimum(self.low, other.low), np.maximum(self.high, other.high))

  @property
  def std(self) -> np.ndarray:
    """(C,) standard deviation of the population: the squares are divided by the count."""
    return np.sqrt(self.squares / np.maximum(self.count, 1))


def _extremes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(C,) float64 smallest and largest finite value of each channel of images (N, H, W, C)."""
  flat = images.reshape(-1, images.shape[2] * images.shape[3])  # (N * H, W * C): long rows, which NumPy is fast on
  low, high = flat, flat
  if images.dtype.kind == 'f':
    finite = np.isfinite(flat)
    low, high = np.where(finite, flat, np.inf), np.where(finite, flat, -np.inf)
  return (low.min(0).reshape(-1, images.shape[3]).min(0).astype(np.float64),
          high.max(0).reshape(-1, images.shape[3]).max(0).astype(np.float64))


def _add_up(flat: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(C,) number, sum and sum of squares of the finite values of (N, H * W * C), each minus its channel's shift."""
  shifts = np.tile(shift, flat.shape[1] // len(shift))
  count, sums, squares = (np.zeros(flat.shape[1]) for _ in range(3))
  at_once = max(1, VALUES_AT_ONCE // flat.shape[1])
  for start in range(0, len(flat), at_once):
    values = flat[start:start + at_once].astype(np.float64)
    values -= shifts
    if flat.dtype.kind == 'f':
      finite = np.isfinite(values)
      values = np.where(finite, values, 0)
      count += finite.sum(0)
    else:
      count += len(values)
    sums += values.sum(0)
    squares += np.einsum('ij,ij->j', values, values)
  return tuple(total.reshape(-1, len(shift)).sum(0) for total in (count, sums, squares))


def _add_up_bytes(flat: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Does what `_add_up` does for uint8, in integers: exact, and in half the time."""
  sums, squares = (np.zeros(flat.shape[1], np.int64) for _ in range(2))
  at_once = min(max(1, VALUES_AT_ONCE // flat.shape[1]), BYTES_AT_ONCE)
  for start in range(0, len(flat), at_once):
    values = flat[start:start + at_once].astype(np.uint16)
    sums += values.sum(0, dtype=np.uint32)
    values *= values
    squares += values.sum(0, dtype=np.uint32)
  sums, squares = (total.reshape(-1, len(shift)).sum(0) for total in (sums, squares))
  count = np.full(len(shift), flat.size / len(shift))
  return count, sums - count * shift, squares - 2 * shift * sums + count * shift**2

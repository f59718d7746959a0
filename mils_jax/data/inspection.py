"""What a dataset cache holds, inspected before anyone trains on it."""

import dataclasses
import hashlib

import numpy as np

from mils_jax.data.cache.dataset import CachedDataset, Split
from mils_jax.data.moments import Moments

FEW_IMAGES = 10  # a class with fewer in training is warned about
IMAGES_AT_ONCE = 128


@dataclasses.dataclass(frozen=True)
class ChannelRange:
  """One channel over the finite values of the training split, in its own unit."""

  name: str
  unit: str
  minimum: float
  maximum: float
  mean: float
  std: float


@dataclasses.dataclass(frozen=True)
class Inspection:
  """What was found.

  Attributes:
    counts: per split, (classes,) number of images of each class.
    channels: one per channel.
    warnings: one sentence each.
  """

  counts: dict[str, np.ndarray]
  channels: tuple[ChannelRange, ...]
  warnings: tuple[str, ...]


def inspect(dataset: CachedDataset) -> Inspection:
  """Reads every image of a dataset cache once, a few at a time, and finds what is there and what looks wrong."""
  counts = {name: np.bincount(split.labels, minlength=len(dataset.classes)) for name, split in dataset.splits.items()}
  channels = _channel_ranges(dataset)
  warnings = [
      *_constant_channels(channels),
      *(f'{name}: {count} values are non-finite, first in {first}' for name, (count, first) in dataset.nonfinite.items()
        if count),
      *_small_classes(dataset, counts['train']),
      *_shared_images(dataset),
  ]
  return Inspection(counts, channels, tuple(warnings))


def _channel_ranges(dataset: CachedDataset) -> tuple[ChannelRange, ...]:
  images = dataset.splits['train'].images
  moments = Moments.none(len(dataset.channels))
  low, high = np.full(len(dataset.channels), np.inf), np.full(len(dataset.channels), -np.inf)
  for start in range(0, len(images), IMAGES_AT_ONCE):
    some = np.asarray(images[start:start + IMAGES_AT_ONCE])
    moments = moments.merge(Moments.of(some))
    finite = np.isfinite(some)
    low = np.minimum(low, np.where(finite, some, np.inf).min((0, 1, 2)))
    high = np.maximum(high, np.where(finite, some, -np.inf).max((0, 1, 2)))
  numbers = zip(low.tolist(), high.tolist(), moments.mean.tolist(), moments.std.tolist(), strict=True)
  return tuple(ChannelRange(name, unit, *values)
               for name, unit, values in zip(dataset.channels, dataset.units, numbers, strict=True))


def _constant_channels(channels: tuple[ChannelRange, ...]) -> list[str]:
  return [f'channel {channel.name} is constant ({channel.minimum:g}) over the training split' for channel in channels
          if channel.minimum == channel.maximum]


def _small_classes(dataset: CachedDataset, counts: np.ndarray) -> list[str]:
  small = [f'{dataset.classes[label]} ({counts[label]})' for label in np.flatnonzero(counts < FEW_IMAGES)]
  if not small:
    return []
  more = f' and {len(small) - 10} more' if len(small) > 10 else ''
  return [f"{len(small)} classes have under {FEW_IMAGES} training images: {', '.join(small[:10])}{more}"]


def _shared_images(dataset: CachedDataset) -> list[str]:
  """A warning for each two splits that hold the same pixels."""
  hashes = {name: _first_by_hash(split) for name, split in dataset.splits.items()}
  warnings = []
  for name, other in (('train', 'val'), ('train', 'test'), ('val', 'test')):
    shared = [key for key in hashes[other] if key in hashes[name]]
    if shared:
      first = dataset.splits[name].example_ids[hashes[name][shared[0]]]
      second = dataset.splits[other].example_ids[hashes[other][shared[0]]]
      warnings.append(f'{len(shared)} images of {other} are in {name} too, first {second} (as {first})')
  return warnings


def _first_by_hash(split: Split) -> dict[bytes, int]:
  rows: dict[bytes, int] = {}
  for row, image in enumerate(split.images):
    rows.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), row)
  return rows

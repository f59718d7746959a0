"""Viewable thumbnails of images with any channels, from the dataset cache."""

import dataclasses
import io

import numpy as np
from PIL import Image

from mils_jax.data.cache.dataset import CachedDataset, DamagedError, open_folder
from mils_jax.data.sources.source import ALL
from mils_jax.report.read_runs import Run
from mils_jax.run_config import RunConfig

_COLOURS = (('r', 'g', 'b'), ('red', 'green', 'blue'))


def colour_channels(channels: tuple[str, ...]) -> tuple[int, int, int] | None:
  """The three channels to show as red, green and blue: those with these names, else the first three, if there are."""
  lower = [name.lower() for name in channels]
  for names in _COLOURS:
    if all(name in lower for name in names):
      red, green, blue = (lower.index(name) for name in names)
      return red, green, blue
  return (0, 1, 2) if len(channels) >= 3 else None


def to_levels(image: np.ndarray, data: CachedDataset) -> np.ndarray:
  """Scales an image (H, W, C) to levels from 0 to 255: from 2.5 std below each channel's mean to 2.5 above."""
  values = np.nan_to_num(image.astype(np.float64), nan=0, posinf=0, neginf=0)
  low, high = data.mean - 2.5 * data.std, data.mean + 2.5 * data.std
  if image.dtype == np.uint8:
    low, high = np.maximum(low, 0), np.minimum(high, 255)
  return np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Thumbnails:
  """Thumbnails of the images that a run was tested on.

  Attributes:
    data: the dataset cache.
    places: split and row of each image, by its example_id.
  """

  data: CachedDataset
  places: dict[str, tuple[str, int]]

  @classmethod
  def of(cls, run: Run) -> 'Thumbnails | None':
    """The thumbnails for a run; None where its dataset is no longer in the cache. It reads no image."""
    caches = RunConfig.read(run.config).runtime.cache_folder / 'datasets'
    try:
      data = open_folder(caches / run.results['data_fingerprint'])
    except (DamagedError, PermissionError):  # PermissionError: another user's cache
      return None
    return cls(data, {str(example_id): (split, row) for split in (data.splits if run.split == ALL else (run.split,))
                      for row, example_id in enumerate(data.splits[split].example_ids)})

  def png(self, example_id: str) -> bytes | None:
    """The image in colour, or its first channel in grey; None for an unknown example_id."""
    if str(example_id) not in self.places:
      return None
    split, row = self.places[str(example_id)]
    levels = to_levels(self.data.splits[split].images[row], self.data)  # (H, W, C) uint8
    colours = colour_channels(self.data.channels)
    shown = levels[..., list(colours)] if colours else levels[..., 0]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, 'PNG')
    return file.getvalue()

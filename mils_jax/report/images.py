"""Test images as a person sees them, by example_id, from the dataset cache of a run where it still lies in the cache."""

import dataclasses
import io

import numpy as np
from PIL import Image

from mils_jax.data.cache.dataset import CachedDataset, DamagedError, open_folder
from mils_jax.report.inspection import colour_channels, to_levels
from mils_jax.report.load import Run
from mils_jax.run_config import RunConfig


@dataclasses.dataclass(frozen=True)
class Images:
  """The tested images of one dataset cache."""

  packed: CachedDataset
  split: str
  rows: dict[str, int]

  @classmethod
  def of(cls, run: Run) -> 'Images | None':
    """Those of a run; None where its dataset cache is gone. Reads no image and packs nothing."""
    try:
      packed = open_folder(RunConfig.read(run.config).runtime.cache_folder / 'datasets' / run.results['data_fingerprint'])
    except DamagedError:
      return None
    example_ids = packed.splits[run.split].example_ids
    return cls(packed, run.split, {str(example_id): row for row, example_id in enumerate(example_ids)})

  def png(self, example_id: str) -> bytes | None:
    """The image in colours, or its first channel in grey; None for an example_id that the set has not."""
    row = self.rows.get(str(example_id))
    if row is None:
      return None
    levels = to_levels(self.packed.splits[self.split].images[row], self.packed)  # (H, W, C) uint8
    colours = colour_channels(self.packed.channels)
    shown = levels[..., list(colours)] if colours else levels[..., 0]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, 'PNG')
    return file.getvalue()

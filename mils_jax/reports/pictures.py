"""Test pictures as a person sees them, by identity, from the packed set of a run where it still lies in the cache."""

import dataclasses
import io

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from mils_jax.build import cache_folder
from mils_jax.data.packed import DamagedError, PackedSet, open_folder
from mils_jax.reports.inspection import colour_channels, to_levels
from mils_jax.reports.runs import Run


@dataclasses.dataclass(frozen=True)
class Pictures:
  """The tested pictures of one packed set."""

  packed: PackedSet
  split: str
  rows: dict[str, int]

  @classmethod
  def of(cls, run: Run) -> 'Pictures | None':
    """Those of a run; None where its packed set is gone. Reads no picture and packs nothing."""
    try:
      packed = open_folder(cache_folder(ConfigDict(run.config)) / 'packed' / run.results['data_fingerprint'])
    except DamagedError:
      return None
    identities = packed.splits[run.split].identities
    return cls(packed, run.split, {str(identity): row for row, identity in enumerate(identities)})

  def png(self, identity: str) -> bytes | None:
    """The picture in colours, or its first channel in grey; None for an identity that the set has not."""
    row = self.rows.get(str(identity))
    if row is None:
      return None
    levels = to_levels(self.packed.splits[self.split].images[row], self.packed)  # (H, W, C) uint8
    colours = colour_channels(self.packed.channels)
    shown = levels[..., list(colours)] if colours else levels[..., 0]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, 'PNG')
    return file.getvalue()

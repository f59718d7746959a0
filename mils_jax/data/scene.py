"""Reads a whole scene, a georeferenced raster of any size, window by window, and lays out its tiles."""

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mils_jax import invocation
from mils_jax.data.sources.names import ALPHA, RGB, Listing, listings
from mils_jax.data.sources.pixels import FROM_FILE, NO_NODATA, Decoded, Reading, without_nodata
from mils_jax.errors import UserError, one_line
from mils_jax.packages import require

BLOCK = 512  # side in pixels of the blocks that are written; a multiple of the files' tiles of 256
CACHE_BYTES = 2**26  # GDAL's cache, which by default takes a share of the machine's memory


@dataclasses.dataclass(frozen=True)
class Block:
  """A part of the scene that is classified and written at once, and the tiles that overlap it.

  Attributes:
    rows, columns: first and last + 1.
    row_starts, column_starts: first rows and columns of its tiles.
  """

  rows: tuple[int, int]
  columns: tuple[int, int]
  row_starts: tuple[int, ...]
  column_starts: tuple[int, ...]

  @property
  def corners(self) -> list[tuple[int, int]]:
    """First row and column of each tile."""
    return [(row, column) for row in self.row_starts for column in self.column_starts]


def blocks(height: int, width: int, tile: int, stride: int) -> Iterator[Block]:
  """The blocks of a scene, from top to bottom."""
  rows, columns = starts(height, tile, stride), starts(width, tile, stride)
  for top in range(0, height, BLOCK):
    bottom = min(top + BLOCK, height)
    for left in range(0, width, BLOCK):
      right = min(left + BLOCK, width)
      yield Block((top, bottom), (left, right), tuple(row for row in rows if row < bottom and row + tile > top),
                  tuple(column for column in columns if column < right and column + tile > left))


def starts(length: int, tile: int, stride: int) -> list[int]:
  """Starts of the tiles along an axis: one every `stride` pixels, and one at its end; a tile may exceed the axis."""
  last = max(length - tile, 0)
  return [*range(0, last, stride), last]


class Scene:
  """A raster opened by rasterio; close it after use.

  Args:
    path: path of the raster.
    reading: how the training images were read; its size and color are ignored.

  Attributes:
    height, width: in pixels.
    profile: coordinate system and transform, for files of the same area.
    notes: notes for the user.

  Raises:
    UserError: rasterio is not installed or cannot open it.
  """

  def __init__(self, path: str, reading: Reading):
    rasterio = import_rasterio()
    self._nodata = reading.nodata
    self._environment = rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES)
    self._environment.__enter__()
    try:
      with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)  # noted below
        self._file = rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
      self._environment.__exit__(None, None, None)
      raise UserError(f'--input {path}: no raster that GDAL opens: {one_line(error)}') from error
    if any(kind.name == 'palette' for kind in self._file.colorinterp):  # which 1 bit, and white as 0, are to GDAL too
      self.close()
      raise UserError(f'--input {path}: its values are indices into colours, which images in training are not; '
                      'expected a band in each channel, as gdal_translate -expand rgb writes it')
    self.path = path
    self.height, self.width = self._file.height, self._file.width
    self.profile = {'crs': self._file.crs, 'transform': self._file.transform}
    self.notes = () if self._file.crs else (f'{path} has no coordinate system, so the maps have none',)
    names = tuple(name or '' for name in self._file.descriptions)
    self._names = names if reading.metadata and all(names) and len(set(names)) == len(names) else ()
    self._units = tuple(unit or '' for unit in self._file.units)
    kinds = tuple(kind.name for kind in self._file.colorinterp)
    self._color = {('red', 'green', 'blue'): RGB, ('red', 'green', 'blue', 'alpha'): (*RGB, ALPHA)}.get(
        kinds if set(self._file.dtypes) == {'uint8'} else (), ())
    folder = str(Path(path).absolute().parent)
    self.listing: Listing | None = listings([folder], folder, beyond=True)[folder]

  def close(self) -> None:
    self._file.close()
    self._environment.__exit__(None, None, None)

  def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> Decoded:
    """Reads a window (H, W, C), masked where there is no data, including pixels beyond the scene's edge."""
    inside = ((rows[0], min(rows[1], self.height)), (columns[0], min(columns[1], self.width)))
    values = self._file.read(window=inside, masked=self._nodata != NO_NODATA)
    image = np.moveaxis(values if np.ma.is_masked(values) else np.ma.getdata(values), 0, -1)
    if self._nodata not in (FROM_FILE, NO_NODATA):
      image = without_nodata(np.ma.getdata(image), self._nodata)
    missing = (rows[1] - rows[0] - image.shape[0], columns[1] - columns[0] - image.shape[1])
    if any(missing):
      padding = ((0, missing[0]), (0, missing[1]), (0, 0))
      image = np.ma.masked_array(np.pad(np.ma.getdata(image), padding),
                                 np.pad(np.ma.getmaskarray(image), padding, constant_values=True))
    return Decoded(image, self._names, self._units if self._names else (), self._color)


def import_rasterio() -> Any:
  """Imports rasterio; raises UserError where it is not installed."""
  require('rasterio.errors', '--tile', invocation.install('geo'))
  return require('rasterio', '--tile', invocation.install('geo'))

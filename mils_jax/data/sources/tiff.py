"""Reads TIFF files through tifffile: any number of channels, with the names in their tags."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from mils_jax.data.sources.names import ALPHA, RGB
from mils_jax.data.sources.pictures import TURNED
from mils_jax.data.sources.pixels import Decoded, Reading, channels_last, check_dtype, check_size, without_nodata
from mils_jax.data.sources.tiff_tags import channel_names, is_scaled, nodata, other_files
from mils_jax.errors import UserError

STORED = 'values were read as stored, without the scale and offset that the file states'
_COLOURED = (2, 6)  # photometric interpretations: RGB and YCbCr
_JPEG = (6, 7, 34892, 33007)  # compressions whose decoder turns YCbCr into RGB
# Photometric interpretations whose three channels would be taken for R, G and B.
_UNCONVERTED = {6: 'YCbCr', 8: 'CIE L*a*b*', 9: 'ICC L*a*b*', 10: 'ITU L*a*b*'}
_ALPHA = (1, 2)  # extra samples: associated and unassociated alpha
_ORIENTATION = 274  # the tag's number
# For each orientation but the first: whether rows and columns are swapped, and which axes are mirrored then.
_TURNS = {2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,)), 5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)),
          8: (True, (0,))}


def decode(path: str, reading: Reading) -> Decoded:
  """Reads a TIFF; raises UserError for an unsupported layout or dtype, and any error for damage."""
  import tifffile  # here, as loading it is slow

  with _unlogged(), tifffile.TiffFile(path) as file:
    elsewhere = other_files(file, os.path.basename(path))  # tifffile would open them, wherever they are
    if elsewhere or file.series[0].is_multifile:
      raise UserError(f'{path}: a part of an image in several files'
                      + (f', such as {elsewhere[0][:120]}' if elsewhere else '')
                      + '; expected all of an image in one file, or a file for each band')
    series = file.series[0]
    others = [other for other in file.series[1:] if not _belongs_to_another(other.keyframe)]
    if others:
      raise UserError(f'{path}: a TIFF of {1 + len(others)} separate images; expected one')
    shape = tuple(series.shape)
    page: Any = series.keyframe  # a TiffPage, or a TiffFrame that is like one
    check_size(path, shape)
    if page.photometric in _UNCONVERTED and not (page.photometric == _COLOURED[1] and page.compression in _JPEG):
      raise UserError(f'{path}: a TIFF in the colours {_UNCONVERTED[page.photometric]}; expected RGB, grey, or bands')
    if series.dtype != bool:
      check_dtype(np.dtype(series.dtype), path)
    rule = _channel_axis(series.axes, shape, reading.channel_axis, path)
    stored = without_nodata(series.asarray(), reading.nodata, nodata(page))  # before values are converted
    image, coloured = _in_colour(stored, page)
    pixels = channels_last(image, 'last' if coloured else rule, path)
    pixels, notes = _upright(pixels, page) if reading.metadata else (pixels, ())
    names, units = channel_names(file, pixels.shape[-1]) if reading.metadata else ((), ())
    notes = (*notes, STORED) if is_scaled(file) else notes
    color = RGB if coloured else _kind(page, pixels)
    return Decoded(pixels, names, units, color, notes)


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
  """Without what tifffile logs of odd tags, a line at each opening of a file; damage is raised."""
  logger = logging.getLogger('tifffile')

  def nothing(_: logging.LogRecord) -> bool:
    return False

  logger.addFilter(nothing)  # unlike a level, it may be there twice while two threads read
  try:
    yield
  finally:
    logger.removeFilter(nothing)


def _kind(page: Any, pixels: np.ndarray) -> tuple[str, ...]:
  """Names of an image's channels by its colour space, for 8-bit images only, as tifffile calls all others RGB too.

  A fourth channel called alpha may be any band: GDAL and tifffile write that name by default.
  """
  count = pixels.shape[-1]
  if page.photometric not in _COLOURED or pixels.dtype != np.uint8 or count not in (3, 4):
    return ()
  return RGB if count == 3 else (*RGB, ALPHA) if set(page.extrasamples) & set(_ALPHA) else ()


def _belongs_to_another(page: Any) -> bool:
  """Whether this is a smaller copy of the image before it, or its mask, as in cloud-optimised GeoTIFF."""
  return bool(int(page.subfiletype) & 0b101)


def _in_colour(image: np.ndarray, page: Any) -> tuple[np.ndarray, bool]:
  """The image with its palette applied (then True), if it has one, with black as 0 and in whole bytes."""
  from tifffile import PHOTOMETRIC

  if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None and image.dtype == np.uint8:
    colours = (np.moveaxis(page.colormap, 0, -1)[np.ma.getdata(image)] >> 8).astype(np.uint8)
    mask = np.repeat(np.ma.getmaskarray(image)[..., None], colours.shape[-1], -1)
    return np.ma.masked_array(colours, mask) if np.ma.is_masked(image) else colours, True
  if image.dtype == bool:
    image = image.astype(np.uint8) * 255
  if page.photometric == PHOTOMETRIC.MINISWHITE and image.dtype.kind in 'iu':
    image = ~image  # the dtype's smallest value for its largest
  return image, False


def _channel_axis(axes: str, shape: tuple[int, ...], channel_axis: str, path: str) -> str:
  """The axis of the TIFF's channels: the one that the file states, else by the configuration."""
  if len(shape) == 2:
    return 'last'
  if axes in ('YXS', 'YXC'):
    return 'last'
  if axes in ('SYX', 'CYX'):
    return 'first'
  if len(shape) == 3 and channel_axis:
    return channel_axis
  if len(shape) > 3:
    raise UserError(f'{path}: a TIFF of several pages of several channels, shape {shape}; expected one image')
  raise UserError(f'{path}: a TIFF of several pages, shape {shape}, that does not state what they are; '
                  'set data.channel_axis=first or last')


def _upright(pixels: np.ndarray, page: Any) -> tuple[np.ndarray, tuple[str, ...]]:
  """The image (H, W, C) in the orientation that a viewer shows."""
  tags = getattr(page, 'tags', {})  # a page that is like the first has none
  tag = tags.get(_ORIENTATION)
  if tag is None or tag.value not in _TURNS:
    return pixels, ()
  swapped, mirrored = _TURNS[tag.value]
  return np.flip(np.swapaxes(pixels, 0, 1) if swapped else pixels, mirrored), (TURNED,)

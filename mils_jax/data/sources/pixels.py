"""The array (H, W, C) that an image file becomes, with the file's names for its channels, and how it is resized."""

import dataclasses
import math
import os

import numpy as np
from PIL import Image

from mils_jax.data.sources.source import DTYPES
from mils_jax.errors import UserError

FROM_FILE, NO_NODATA = '', 'none'  # values of data.nodata other than a number
MAX_VALUES = 2**30  # most values of one image, over all channels: larger ones are refused before they are decoded
LARGE = 2**28  # number of values from which on the size of the file is checked
MOST_COMPRESSED = 4096


def nodata_value(text: str) -> float | None:
  """The number in data.nodata, None where it is FROM_FILE or NO_NODATA; raises UserError for anything else."""
  try:
    return None if text in (FROM_FILE, NO_NODATA) else float(text)
  except ValueError as error:
    raise UserError(f"data.nodata='{text}': expected a number, nan, {NO_NODATA}, or nothing for the file's own"
                    ) from error


@dataclasses.dataclass(frozen=True)
class Reading:
  """How image files become arrays: the same in training and in prediction.

  Attributes:
    size: side of the square that an image becomes (shorter side resized, central square); 0: its own size.
    channel_axis: 'first' or 'last' where TIFF files and arrays do not state the axis of the channels, else ''.
    color: what images in Pillow formats (JPEG, PNG and so on) are converted to: 'rgb' or 'grey'; 'as_is': nothing.
    nodata: the value of pixels without data, as text; FROM_FILE: the file's own; NO_NODATA: none.
    metadata: whether the orientation and the channel names in a file count.
  """

  size: int = 0
  channel_axis: str = ''
  color: str = 'as_is'
  nodata: str = FROM_FILE
  metadata: bool = True

  def __post_init__(self):
    nodata_value(self.nodata)


AS_IT_IS = Reading(nodata=NO_NODATA)


@dataclasses.dataclass
class Decoded:
  """A decoded image.

  Attributes:
    pixels: (H, W, C) of one of `DTYPES`; masked where a pixel has no data.
    names: names of its channels, where the file itself gives them.
    units: units of its channels, as many as there are names, or none.
    color: names of its channels by the kind of image, such as R, G, B; none for other channels.
    notes: notes on conversions.
    size: height and width of the whole image as stored, before it was rotated or resized; empty: not known.
  """

  pixels: np.ndarray
  names: tuple[str, ...] = ()
  units: tuple[str, ...] = ()
  color: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()
  size: tuple[int, ...] = ()


def check_size(path: str, shape: tuple[int, ...]) -> None:
  """Raises UserError where an image is too large, or implausibly large for its file, which indicates damage."""
  values, size = math.prod(shape), ' x '.join(map(str, shape))
  if values > MAX_VALUES:
    raise UserError(f'{path}: {size} are {values} values; expected at most {MAX_VALUES} in one image: cut it '
                    'into parts')
  if values > LARGE and values > os.path.getsize(path) * MOST_COMPRESSED:
    raise UserError(f'{path}: claims {size} values in {os.path.getsize(path)} bytes; expected a whole image')


def check_dtype(dtype: np.dtype, where: str) -> None:
  """Raises UserError where images of this dtype cannot be stored."""
  if dtype.name not in DTYPES:
    raise UserError(f"{where}: dtype {dtype.name}. Valid: {', '.join(DTYPES)} (convert it with astype)")


def channels_last(image: np.ndarray, channel_axis: str, where: str) -> np.ndarray:
  """Brings an array (..., H, W), (..., H, W, C) or (..., C, H, W) of one image to (H, W, C), as a view.

  Raises:
    UserError: the array has another number of axes, or looks like channels first without a data.channel_axis.
  """
  if image.ndim == 2:
    return image[..., None]
  if image.ndim != 3:
    raise UserError(f'{where}: shape {image.shape}; expected (H, W), (H, W, C) or, '
                    'with data.channel_axis=first, (C, H, W)')
  if channel_axis == 'first':
    return np.moveaxis(image, 0, -1)
  if channel_axis == '' and image.shape[0] < min(image.shape[1:]):
    raise UserError(f'{where}: shape {image.shape} looks like channels first; set data.channel_axis=first or last')
  return image


def without_nodata(pixels: np.ndarray, setting: str, own: float | None = None) -> np.ndarray:
  """Masks pixels without data; returns a plain array where there are none.

  Args:
    pixels: (H, W, C).
    setting: as Reading.nodata.
    own: nodata value in the file.
  """
  value = own if setting == FROM_FILE else nodata_value(setting)
  if value is None or isinstance(pixels, np.ma.MaskedArray):
    return pixels
  if np.isnan(value):
    if pixels.dtype.kind != 'f':
      return pixels
    empty = np.isnan(pixels)
  else:
    # Compared in the pixels' own dtype: a file may state -3.4028234663852886e+38 with fewer digits.
    empty = np.isclose(pixels, value, rtol=1e-6, atol=0) if pixels.dtype.kind == 'f' else pixels == value
  return np.ma.masked_array(pixels, empty) if empty.any() else pixels


def resize_square(pixels: np.ndarray, size: int) -> np.ndarray:
  """Resizes the central square of (H, W, C) to (size, size, C), in the same dtype; size 0: leaves it alone.

  Masked values do not affect their neighbours: a new value is the mean of the unmasked ones, and is masked where half
  or more of them were masked.
  """
  height, width, channels = pixels.shape
  if size == 0 or (height == size and width == size):
    return pixels
  if np.ma.is_masked(pixels):
    return _resize_masked(np.ma.asarray(pixels), size)
  pixels = np.ma.getdata(pixels)
  box = central_square(width, height)
  if pixels.dtype == np.uint8 and channels == 3:
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box))
  result = np.empty((size, size, channels), pixels.dtype)
  for channel in range(channels):
    plane = np.ascontiguousarray(pixels[..., channel])
    image = Image.fromarray(plane if plane.dtype == np.uint8 else plane.astype(np.float32))
    resized = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))
    # Bilinear weights never leave the range of the values, so rounding cannot overflow.
    result[..., channel] = resized if pixels.dtype.kind == 'f' else np.rint(resized)
  return result


def central_square(width: int, height: int) -> tuple[float, float, float, float]:
  side = min(width, height)
  left, top = (width - side) / 2, (height - side) / 2
  return left, top, left + side, top + side


def _resize_masked(pixels: np.ma.MaskedArray, size: int) -> np.ma.MaskedArray:
  there = (~np.ma.getmaskarray(pixels)).astype(np.float32)
  share = resize_square(there, size)  # share of each new value that was not masked
  filled = np.where(there > 0, pixels.data, 0).astype(np.float32)
  total = resize_square(filled, size)
  values = total / np.maximum(share, np.finfo(np.float32).tiny)
  usable = (there > 0) & ~np.isnan(filled)
  low = filled.min((0, 1), where=usable, initial=np.inf)
  high = filled.max((0, 1), where=usable, initial=-np.inf)
  values = np.where(low <= high, np.clip(values, low, high), values)  # the share's rounding must not exceed the range
  result = values if pixels.dtype.kind == 'f' else np.rint(values)
  return np.ma.masked_array(result.astype(pixels.dtype), share <= 0.5)

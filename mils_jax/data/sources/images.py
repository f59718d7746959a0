"""One image file as an array (H, W, C) in its own dtype, and its resizing."""

import contextlib
import io
import math
import os
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from mils_jax import invocation
from mils_jax.data.sources.source import DTYPES
from mils_jax.errors import UserError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.gif', '.ppm', '.pgm', '.tif', '.tiff', '.npy')
CHANNEL_AXES = ('', 'first', 'last')
MAX_VALUES = 2**28  # of one image, over all channels: what claims more is refused before it is decoded
SMALL_FILE = 2**16  # bytes

# Pillow's modes that are read as another one; modes that are in neither table are refused.
_CONVERTED = {'1': 'L', 'P': 'RGB', 'CMYK': 'RGB', 'YCbCr': 'RGB', 'LAB': 'RGB', 'HSV': 'RGB'}
_KEPT = {'L': 'uint8', 'LA': 'uint8', 'RGB': 'uint8', 'RGBA': 'uint8', 'I;16': 'uint16', 'I;16B': 'uint16',
         'F': 'float32'}

_STRICT = ('error', None, Image.DecompressionBombWarning, None, 0)  # as `warnings.filters` holds it


@contextlib.contextmanager
def strict_warnings() -> Iterator[None]:
  """Turns Pillow's warning of too many pixels into an error, and hides those of odd metadata, which are not read.

  `read_image` enters it by itself; entering it once around many calls saves time. Like all filters of warnings it is
  for one thread at a time.
  """
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', category=UserWarning, module='PIL')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    yield


def read_image(path: str, size: int, channel_axis: str) -> np.ndarray:
  """Reads an image of any of `SUFFIXES`.

  Args:
    path: the file.
    size: side of the square it becomes (shorter side resized, central square); 0: its own size.
    channel_axis: 'first' or 'last' where the file does not say which axis the channels are; '' where it has to.

  Returns:
    (H, W, C) of one of `DTYPES`.

  Raises:
    UserError: the file does not decode, claims to be enormous, or has an unsupported layout or dtype.
  """
  suffix = os.path.splitext(path)[1].lower()
  decode = _decode_npy if suffix == '.npy' else _decode_tiff if suffix in ('.tif', '.tiff') else None
  try:
    if decode is None:
      with contextlib.nullcontext() if warnings.filters[:1] == [_STRICT] else strict_warnings():
        return _decode_with_pillow(path, size)
    return resize_square(decode(path, channel_axis), size)
  except UserError:
    raise
  except FileNotFoundError as error:
    raise UserError(f'{path}: no such image') from error
  except ImportError as error:
    raise UserError(f'{path}: reading TIFF needs tifffile; {invocation.install("tiff")}') from error
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
    raise too_large(path, 'more pixels than Pillow opens') from error
  except UnidentifiedImageError as error:
    raise UserError(f'{path}: does not decode: not an image that Pillow knows') from error
  except Exception as error:  # a damaged file makes decoders raise anything at all
    raise UserError(f"{path}: does not decode: {' '.join(str(error).split()) or type(error).__name__}") from error


def too_large(path: str, claim: str) -> UserError:
  return UserError(f'{path}: claims {claim}; expected at most {MAX_VALUES} values in one image')


def check_dtype(dtype: np.dtype, where: str) -> None:
  """Raises UserError where images of this dtype cannot be stored."""
  if dtype.name not in DTYPES:
    raise UserError(f"{where}: dtype {dtype.name}. Valid: {', '.join(DTYPES)} (convert it with astype)")


def channels_last(image: np.ndarray, channel_axis: str, where: str) -> np.ndarray:
  """Brings an array (..., H, W), (..., H, W, C) or (..., C, H, W) of one image to (H, W, C), as a view.

  Raises:
    UserError: the array has another number of axes, or looks like channels first and nothing says which it is.
  """
  if image.ndim == 2:
    return image[..., None]
  if image.ndim != 3:
    raise UserError(f'{where}: shape {image.shape}; expected (H, W), (H, W, C) or, '
                    'with data.channel_axis=first, (C, H, W)')
  if channel_axis == 'first':
    return np.moveaxis(image, 0, -1)
  if channel_axis == '' and image.shape[0] < min(image.shape[1:]):
    raise UserError(f'{where}: shape {image.shape} looks like channels first; say data.channel_axis=first or last')
  return image


def resize_square(pixels: np.ndarray, size: int) -> np.ndarray:
  """Resizes the central square of (H, W, C) to (size, size, C), in the same dtype; size 0: leaves it alone."""
  height, width, channels = pixels.shape
  if size == 0 or (height == size and width == size):
    return pixels
  box = _central_square(width, height)
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


def _central_square(width: int, height: int) -> tuple[float, float, float, float]:
  side = min(width, height)
  left, top = (width - side) / 2, (height - side) / 2
  return left, top, left + side, top + side


def _decode_with_pillow(path: str, size: int) -> np.ndarray:
  with _open(path) as image:
    width, height = image.size
    if width * height * len(image.getbands()) > MAX_VALUES:
      raise too_large(path, f'{width} x {height} pixels')
    shrink = 2 * size / min(width, height)
    if 0 < shrink < 1 and image.format == 'JPEG':
      # The JPEG decoder may halve the image while it stays at least twice the size asked for: the resizing below
      # averages what is left, so the result stays within about a grey level of resizing the whole.
      image.draft(None, (math.ceil(width * shrink), math.ceil(height * shrink)))
    return _pixels(path, image, size)


def _open(path: str) -> ImageFile.ImageFile:
  """Opens an image, a small file in memory: there Pillow's many little reads cost less."""
  with open(path, 'rb', buffering=0) as file:
    data = file.read(SMALL_FILE)
  return Image.open(io.BytesIO(data) if len(data) < SMALL_FILE else path)


def _pixels(path: str, file: ImageFile.ImageFile, size: int) -> np.ndarray:
  image: Image.Image = file
  if image.format == 'PNG' and image.mode != 'I;16' and any('16B' in str(tile[3]) for tile in file.tile):
    raise UserError(f'{path}: a PNG of 16 bits in several channels would lose half of them; save it as TIFF or .npy')
  if image.mode == 'P' and 'transparency' in image.info:
    image = image.convert('RGBA')
  elif image.mode in _CONVERTED:
    image = image.convert(_CONVERTED[image.mode])
  if image.mode not in _KEPT:
    raise UserError(f"{path}: Pillow mode {image.mode}. Valid: {', '.join([*_KEPT, *_CONVERTED])}")
  if size and image.mode == 'RGB':
    if image.size != (size, size):
      image = image.resize((size, size), Image.Resampling.BILINEAR, _central_square(*image.size))
    return np.asarray(image)
  pixels = np.asarray(image).astype(_KEPT[image.mode], copy=False)
  return resize_square(pixels[..., None] if pixels.ndim == 2 else pixels, size)


def _decode_npy(path: str, channel_axis: str) -> np.ndarray:
  try:
    image = np.load(path, mmap_mode='r', allow_pickle=False)
  except ValueError as error:
    if 'allow_pickle' in str(error) or 'Python objects' in str(error):
      raise UserError(f'{path}: holds pickled objects, which are refused; expected an array of numbers') from error
    raise
  check_dtype(image.dtype, path)
  if image.size > MAX_VALUES:
    raise too_large(path, f'the shape {image.shape}')
  return np.array(channels_last(image, channel_axis, path))


def _decode_tiff(path: str, channel_axis: str) -> np.ndarray:
  import tifffile

  with tifffile.TiffFile(path) as file:
    if len(file.series) != 1:
      raise UserError(f'{path}: a TIFF of {len(file.series)} separate images; expected one')
    series = file.series[0]
    if math.prod(series.shape) > MAX_VALUES:
      raise too_large(path, f'the shape {tuple(series.shape)}')
    check_dtype(series.dtype, path)
    axes, shape = series.axes, tuple(series.shape)
    rule = _tiff_channel_axis(axes, shape, channel_axis, path)
    image = series.asarray()
  return np.ascontiguousarray(channels_last(image, rule, path))


def _tiff_channel_axis(axes: str, shape: tuple[int, ...], channel_axis: str, path: str) -> str:
  """Which axis of the TIFF the channels are: what the file says, else the config's rule."""
  if len(shape) == 2:
    return 'last'
  if axes in ('YXS', 'YXC'):
    return 'last'
  if axes in ('SYX', 'CYX'):
    return 'first'
  if len(shape) == 3 and channel_axis:
    return channel_axis
  raise UserError(f'{path}: a TIFF of several pages, shape {shape}, that does not say what they are; '
                  'say data.channel_axis=first or last')



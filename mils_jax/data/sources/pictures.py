"""Pillow formats: JPEG, PNG and whatever else Pillow decodes, upright, and in the requested colours."""

import contextlib
import io
import math

import numpy as np
from PIL import Image, ImageFile, ImageOps

from mils_jax.data.sources.names import ALPHA, GREY, RGB
from mils_jax.data.sources.pixels import Decoded, Reading, central_square, check_size, nodata_value, resize_square
from mils_jax.errors import UserError

SMALL_FILE = 2**16  # bytes
TURNED = 'rotated upright by its EXIF orientation'
GREY_AS_RGB = 'a grey image was read as a colour image whose R, G and B are equal'
RGB_AS_GREY = 'a colour image was read as a grey one, by its luminance'
WITHOUT_ALPHA = 'the alpha channel was left out'
FIRST_FRAME = 'the first of several frames was read'
SCALED = 'values were scaled to the whole range of their type, as the file states another largest one'

# Pillow's modes that are converted to another one; modes in neither table are refused.
_CONVERTED = {'1': 'L', 'P': 'RGB', 'PA': 'RGBA', 'CMYK': 'RGB', 'YCbCr': 'RGB', 'LAB': 'RGB', 'HSV': 'RGB',
              'RGBX': 'RGB', 'La': 'LA', 'RGBa': 'RGBA'}
_KEPT = {'L': 'uint8', 'LA': 'uint8', 'RGB': 'uint8', 'RGBA': 'uint8', 'I;16': 'uint16', 'I;16B': 'uint16',
         'F': 'float32'}
_COLORS = {1: (GREY,), 2: (GREY, ALPHA), 3: RGB, 4: (*RGB, ALPHA)}  # the channels of an image, by their number


def decode(path: str, reading: Reading) -> Decoded:
  """Reads an image; raises UserError for one that is too large or of an unsupported mode, and any error for damage."""
  size = reading.size if nodata_value(reading.nodata) is None else 0  # pixels without data are masked first
  with _open(path) as image:
    width, height = image.size
    bands = len(image.getbands())
    check_size(path, (width, height, max(bands, 3) if image.mode == 'P' or reading.color == 'rgb' else bands))
    shrink = 2 * size / min(width, height)
    if 0 < shrink < 1 and image.format == 'JPEG':
      # The JPEG decoder may halve the image while it stays at least twice the requested size: the resizing below
      # averages the rest, so the result stays within about a grey level of resizing the full image.
      image.draft(None, (math.ceil(width * shrink), math.ceil(height * shrink)))
    scaled = _check_depth(image, path)
    frames = [FIRST_FRAME] if getattr(image, 'is_animated', False) else []
    upright, turned = _upright(image) if reading.metadata else (image, [])
    plain, changed = _in_colour(_plain(upright, path, reading.color), reading.color)
    pixels = _pixels(plain, path, size)
    if reading.color == 'rgb' and pixels.shape[-1] == 1:  # of more than 8 bits, which Pillow does not convert
      pixels = np.repeat(pixels, 3, axis=-1)
    notes = (*scaled, *frames, *turned, *changed)
    return Decoded(pixels, color=_COLORS[pixels.shape[-1]], notes=notes, size=(height, width))


def is_colour(path: str) -> bool:
  """Whether an image has colours, by its header alone; False for one that cannot be opened."""
  with contextlib.suppress(Exception), _open(path) as image:  # a damaged file makes decoders raise anything at all
    if image.mode in ('P', 'PA'):
      return not _has_grey_palette(image)
    return image.mode not in ('1', 'L', 'LA', 'La', 'F') and not image.mode.startswith('I')
  return False


def _has_grey_palette(image: Image.Image) -> bool:
  palette = np.array(image.getpalette() or [0, 0, 0]).reshape(-1, 3)
  return bool((palette == palette[:, :1]).all())


def _open(path: str) -> ImageFile.ImageFile:
  """Opens an image; small files are read into memory, where Pillow's many small reads cost less."""
  with open(path, 'rb', buffering=0) as file:
    data = file.read(SMALL_FILE)
  return Image.open(io.BytesIO(data) if len(data) < SMALL_FILE else path)


def _check_depth(image: ImageFile.ImageFile, path: str) -> list[str]:
  """Raises UserError where Pillow would cut values of 16 bits to 8, and returns a note where it scales them."""
  codecs = [(codec, args) for codec, _, _, args in image.tile]
  largest = {int(args[1]) for codec, args in codecs if codec in ('ppm', 'ppm_plain') and args and image.mode != '1'}
  deep = max(largest, default=0) > 255 or any(codec == 'SGI16' or '16B' in str(args) for codec, args in codecs)
  if deep and not image.mode.startswith('I'):
    raise UserError(f'{path}: {image.format} of 16 bits, mode {image.mode}, would lose half of them; save it as TIFF '
                    'or .npy')
  return [SCALED] if largest - {255, 65535} else []


def _upright(image: Image.Image) -> tuple[Image.Image, list[str]]:
  """The image in the orientation that a viewer shows."""
  try:
    orientation = image.getexif().get(0x0112, 1)
  except Exception:  # damaged metadata leaves the pixels intact, and viewers ignore it
    return image, []
  if orientation not in range(2, 9):
    return image, []
  return ImageOps.exif_transpose(image), [TURNED]


def _plain(image: Image.Image, path: str, color: str) -> Image.Image:
  """Converts the image to one of the modes of _KEPT."""
  if image.mode == 'P' and 'transparency' in image.info:
    return image.convert('RGBA')
  if image.mode == 'P' and color != 'as_is' and _has_grey_palette(image):
    return image.convert('L')
  if image.mode in _CONVERTED:
    return image.convert(_CONVERTED[image.mode])
  if image.mode == 'I':  # Pillow's 32-bit mode, usually for images of 16 bits
    values = np.asarray(image)
    if values.min() >= 0 and values.max() < 2**16:
      return Image.fromarray(values.astype(np.uint16))
  if image.mode not in _KEPT:
    raise UserError(f"{path}: Pillow mode {image.mode}. Valid: {', '.join([*_KEPT, *_CONVERTED])}")
  return image


def _in_colour(image: Image.Image, color: str) -> tuple[Image.Image, list[str]]:
  """Converts the image to the channels that `color` requests, as far as Pillow can, with notes on the changes."""
  if color == 'as_is':
    return image, []
  notes = [WITHOUT_ALPHA] if image.mode in ('LA', 'RGBA') else []
  grey = image.mode not in ('RGB', 'RGBA')
  if grey and color == 'rgb':
    notes.append(GREY_AS_RGB)
  if not grey and color == 'grey':
    notes.append(RGB_AS_GREY)
  if image.mode in ('L', 'LA', 'RGB', 'RGBA'):
    return image.convert('RGB' if color == 'rgb' else 'L'), notes
  return image, notes


def _pixels(image: Image.Image, path: str, size: int) -> np.ndarray:
  if size and image.mode == 'RGB':
    if image.size != (size, size):
      image = image.resize((size, size), Image.Resampling.BILINEAR, central_square(*image.size))
    return np.asarray(image)
  pixels = np.asarray(image).astype(_KEPT[image.mode], copy=False)
  return resize_square(pixels[..., None] if pixels.ndim == 2 else pixels, size)

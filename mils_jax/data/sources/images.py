"""Reads one image file as an array (H, W, C) in its own dtype, with the file's names for its channels."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from mils_jax.data.sources import image_formats, jpeg2000, pictures, tiff
from mils_jax.data.sources.pixels import (
  Decoded,
  Reading,
  channels_last,
  check_dtype,
  check_size,
  resize_square,
  without_nodata,
)
from mils_jax.errors import UserError, one_line


@contextlib.contextmanager
def decoders_settled() -> Iterator[None]:
  """Hides Pillow's warnings about odd metadata, and lifts its limit of pixels, which `MAX_VALUES` replaces.

  `read_image` enters it itself; entering it once around many calls saves time. Like all warning filters, and like
  Pillow's limit, it is not thread-safe.
  """
  limit = Image.MAX_IMAGE_PIXELS
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', category=UserWarning, module='PIL')
    Image.MAX_IMAGE_PIXELS = None
    try:
      yield
    finally:
      Image.MAX_IMAGE_PIXELS = limit


def read_image(path: str, reading: Reading) -> Decoded:
  """Reads an image file of any of `image_formats.suffixes()`.

  Raises:
    UserError: the file does not decode, claims to be enormous, or has an unsupported layout or dtype.
  """
  kind = image_formats.suffix(path)
  try:
    if kind == image_formats.ARRAY:
      decoded = _decode_npy(path, reading)
    elif kind in image_formats.TIFF:
      decoded = tiff.decode(path, reading)
    else:
      with contextlib.nullcontext() if Image.MAX_IMAGE_PIXELS is None else decoders_settled():
        decoded = (jpeg2000 if kind in image_formats.JPEG2000 else pictures).decode(path, reading)
    pixels = decoded.pixels if kind in image_formats.TIFF else without_nodata(decoded.pixels, reading.nodata)
    return dataclasses.replace(decoded, pixels=resize_square(pixels, reading.size),
                               size=decoded.size or pixels.shape[:2])
  except UserError:
    raise
  except FileNotFoundError as error:
    raise UserError(f'{path}: no such image') from error
  except UnidentifiedImageError as error:
    raise UserError(f'{path}: does not decode: not an image that Pillow knows') from error
  except Exception as error:  # a damaged file makes decoders raise anything at all
    raise UserError(f"{path}: does not decode: {one_line(error)}") from error


def _decode_npy(path: str, reading: Reading) -> Decoded:
  try:
    image = np.load(path, mmap_mode='r', allow_pickle=False)
  except ValueError as error:
    if 'allow_pickle' in str(error) or 'Python objects' in str(error):
      raise UserError(f'{path}: holds pickled objects, which are refused; expected an array of numbers') from error
    raise
  check_dtype(image.dtype, path)
  check_size(path, image.shape)
  return Decoded(np.array(channels_last(image, reading.channel_axis, path)))

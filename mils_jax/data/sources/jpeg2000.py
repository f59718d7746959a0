"""JPEG 2000 with samples of other than 8 bits, such as Sentinel-2's bands of 15, which Pillow would scale or cut."""

import contextlib
import struct
from pathlib import Path

import numpy as np

from mils_jax.data.sources import pictures
from mils_jax.data.sources.names import GREY, RGB
from mils_jax.data.sources.pixels import Decoded, Reading, check_dtype, check_size

_START = b'\xff\x4f\xff\x51'  # of a codestream: the markers SOC and SIZ (ISO/IEC 15444-1, annex A)
_SIZE = struct.Struct('>4xHxxIIII16xH')  # length of the segment, the far corner, the near one, number of components
_EIGHT_BITS = 7  # as the header has it: bits less one, with the highest bit set for signed values


def decode(path: str, reading: Reading) -> Decoded:
  """Reads an image with its values as stored; raises UserError for an unsupported dtype, any error for damage."""
  import imagecodecs  # here, as loading it is slow

  data = Path(path).read_bytes()
  shape, precisions = _header(data)
  if _is_pillows(shape, precisions):
    return pictures.decode(path, reading)
  check_size(path, shape)
  pixels = imagecodecs.jpeg2k_decode(data).reshape(shape)
  check_dtype(pixels.dtype, path)
  if precisions == {0}:
    pixels = pixels * np.uint8(255)  # as one bit is read from any format
  if shape[2] > 1:
    return Decoded(pixels)
  if reading.color == 'rgb':
    return Decoded(np.repeat(pixels, 3, axis=-1), color=RGB, notes=(pictures.GREY_AS_RGB,))
  return Decoded(pixels, color=(GREY,))


def is_of_eight_bits(path: str) -> bool:
  """Whether Pillow reads an image, as earlier versions read all; True for a damaged one."""
  with contextlib.suppress(OSError, struct.error):
    return _is_pillows(*_header(Path(path).read_bytes()))
  return True


def _is_pillows(shape: tuple[int, ...], precisions: set[int]) -> bool:
  return not shape or (shape[2] <= 4 and precisions == {_EIGHT_BITS})


def _header(data: bytes) -> tuple[tuple[int, ...], set[int]]:
  """Height, width and number of components, and their precisions; empty where it has no header."""
  start = data.find(_START)
  if start < 0:
    return (), set()  # an error of Pillow's names the damage
  _, right, bottom, left, top, count = _SIZE.unpack_from(data, start)
  first = start + _SIZE.size
  return (bottom - top, right - left, count), set(data[first:first + 3 * count:3])

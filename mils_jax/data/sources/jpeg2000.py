"""JPEG 2000 with samples of other than 8 bits, such as Sentinel-2's bands of 15, which Pillow would scale or cut."""

import struct
from pathlib import Path

import numpy as np

from mils_jax.data.sources import pictures
from mils_jax.data.sources.names import GREY, RGB
from mils_jax.data.sources.pixels import Decoded, Reading, check_dtype, check_size

_START = b'\xff\x4f\xff\x51'  # of a codestream: the markers SOC and SIZ (ISO/IEC 15444-1, annex A)
_SIZE = struct.Struct('>4xHxxIIII16xH')  # length of the segment, the far corner, the near one, number of components


def decode(path: str, reading: Reading) -> Decoded:
  """Reads an image with its values as stored; raises UserError for an unsupported dtype, any error for damage."""
  import imagecodecs  # here, as loading it is slow

  data = Path(path).read_bytes()
  start = data.find(_START)
  if start < 0:
    return pictures.decode(path, reading)  # whose error names the damage
  _, right, bottom, left, top, count = _SIZE.unpack_from(data, start)
  first = start + _SIZE.size
  precisions = data[first:first + 3 * count:3]  # bits less one; the highest bit is set for signed values
  if count <= 4 and max(precisions) < 8:
    return pictures.decode(path, reading)
  shape = (bottom - top, right - left, count)
  check_size(path, shape)
  pixels = imagecodecs.jpeg2k_decode(data).reshape(shape)
  check_dtype(pixels.dtype, path)
  if count > 1:
    return Decoded(pixels)
  if reading.color == 'rgb':
    return Decoded(np.repeat(pixels, 3, axis=-1), color=RGB, notes=(pictures.GREY_AS_RGB,))
  return Decoded(pixels, color=(GREY,))

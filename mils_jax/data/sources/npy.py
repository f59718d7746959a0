"""Reads the headers of the arrays in an `.npz` or a folder of `.npy`."""

import os
import zipfile
from typing import Any

import numpy as np

from mils_jax.errors import UserError

Header = tuple[tuple[int, ...], bool, np.dtype]  # shape, whether in Fortran order, dtype


def read_headers(path: str) -> dict[str, Header]:
  """Reads the header of every array, by its name, without reading the arrays.

  Raises:
    UserError: the path is neither of them, or an array holds pickled objects.
  """
  headers = {}
  try:
    if os.path.isdir(path):
      for name in sorted(os.listdir(path)):
        if name.endswith('.npy'):
          with open(os.path.join(path, name), 'rb') as file:
            headers[name[:-4]] = _read_header(file)
    else:
      with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
          if name.endswith('.npy'):
            with archive.open(name) as file:
              headers[name[:-4]] = _read_header(file)
  except Exception as error:  # a damaged file makes zip and NumPy raise anything at all
    raise UserError(f'{path}: not an .npz or a folder of .npy: {reason(error)}') from error
  for name, (_, _, dtype) in headers.items():
    if dtype.hasobject:
      raise UserError(f'{path}: {name} is an object array, which only unpickling could read; that is refused. '
                      'Expected arrays of numbers, or of text for names')
  return headers


def stored_offset(path: str, member: str) -> int | None:
  """Offset in the file of the data of an uncompressed member of an .npz; None where it is compressed."""
  with zipfile.ZipFile(path) as archive:
    info = archive.getinfo(member)
    if info.compress_type != zipfile.ZIP_STORED:
      return None
  with open(path, 'rb') as file:
    file.seek(info.header_offset + 26)
    name_length, extra_length = np.frombuffer(file.read(4), '<u2')
    file.seek(info.header_offset + 30 + int(name_length) + int(extra_length))
    _read_header(file)
    return file.tell()


def reason(error: Exception) -> str:
  """The message of an error, in one line."""
  return ' '.join(str(error).split()) or type(error).__name__


def _read_header(file: Any) -> Header:
  version = np.lib.format.read_magic(file)
  read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
  return read(file)

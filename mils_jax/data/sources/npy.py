"""Reads the arrays of an `.npz` or a folder of `.npy`, and their headers alone."""

import math
import os
import zipfile
from typing import Any

import numpy as np

from mils_jax.errors import UserError, one_line

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
        if name.endswith('.npy') and not name.startswith('.'):  # such as ._x.npy of macOS
          with open(os.path.join(path, name), 'rb') as file:
            headers[name[:-4]] = _read_header(file)
    else:
      with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
          if name.endswith('.npy'):
            with archive.open(name) as file:
              headers[name[:-4]] = _read_header(file)
  except Exception as error:  # a damaged file makes zip and NumPy raise anything at all
    raise UserError(f'{path}: not an .npz or a folder of .npy: {one_line(error)}') from error
  for name, (_, _, dtype) in headers.items():
    if dtype.hasobject:
      raise UserError(f'{path}: {name} is an object array, which only unpickling could read; that is refused. '
                      'Expected arrays of numbers, or of text for names')
  return headers


def load(path: str, name: str) -> np.ndarray:
  """One of the arrays: a memory map where it is not compressed; bytes are decoded to text.

  Raises:
    UserError: it does not load.
  """
  try:
    array = _mapped_or_read(path, name)
    return np.char.decode(array, 'utf-8', 'replace') if array.dtype.kind == 'S' else array
  except Exception as error:  # damaged files raise any error in zip or NumPy
    raise UserError(f'{path}: {name} does not load: {one_line(error)}') from error


def _mapped_or_read(path: str, name: str) -> np.ndarray:
  if os.path.isdir(path):
    return np.load(os.path.join(path, f'{name}.npy'), mmap_mode='r', allow_pickle=False)
  with zipfile.ZipFile(path) as archive:
    info = archive.getinfo(f'{name}.npy')
  if info.compress_type == zipfile.ZIP_STORED:
    with open(path, 'rb') as file:
      file.seek(info.header_offset + 26)
      name_length, extra_length = np.frombuffer(file.read(4), '<u2')
      file.seek(int(name_length) + int(extra_length), os.SEEK_CUR)
      shape, fortran_order, dtype = _read_header(file)
      if math.prod(shape) and not dtype.hasobject:
        return np.memmap(path, dtype, 'r', file.tell(), shape, 'F' if fortran_order else 'C')
  with np.load(path, allow_pickle=False) as arrays:  # which refuses objects
    return arrays[name]


def _read_header(file: Any) -> Header:
  version = np.lib.format.read_magic(file)
  read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
  return read(file)

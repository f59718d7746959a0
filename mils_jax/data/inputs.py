"""Images to classify: a file, a folder or arrays, each image with the names of its own channels."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from mils_jax.data.sources import images, names
from mils_jax.data.sources.folder import images_beneath
from mils_jax.errors import UserError

RGB = ('R', 'G', 'B')
GREY, ALPHA = 'grey', 'alpha'
# The names of the channels of a file that Pillow reads, by their number.
OF_PILLOW = {1: (GREY,), 2: (GREY, ALPHA), 3: RGB, 4: (*RGB, ALPHA)}
# Those of other files without names: an array has none, and a TIFF may hold any channels.
OF_OTHERS = {'.npy': {}, '.tif': {3: RGB}, '.tiff': {3: RGB}}


class Inputs(Protocol):
  """Images to classify, in an order.

  Attributes:
    example_ids: of each: the path of its file, or its index in its array.
  """

  example_ids: Sequence[str]

  def read(self, index: int) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """One image (H, W, C) and the names of its channels, None where nothing names them.

    Raises:
      UserError: it cannot be read, or its names are not as many as its channels.
    """
    ...


def open_inputs(path: str, size: int, channel_axis: str) -> Inputs:
  """Opens a file or folder of images.

  Args:
    path: an image, a folder of images (its subfolders too), an `.npy` with one image or (N, H, W, C) of them, or
      an `.npz` with `images` or `<split>_images`.
    size: side of the square that every file's image becomes; 0: images keep their size.
    channel_axis: 'first' or 'last' for arrays and TIFF files that do not tell which axis the channels are, else ''.

  Raises:
    UserError: it does not exist, holds no image, or is none of these.
  """
  suffix = Path(path).suffix.lower()
  if os.path.isdir(path):
    files = images_beneath(path, path.rstrip('/') or '/')
    if not files:
      raise UserError(f'--input {path}: no images in it. Valid: {", ".join(images.SUFFIXES)}')
    return ImageFiles(files, path, size, channel_axis)
  if not os.path.isfile(path):
    raise UserError(f'--input {path}: no such file or folder')
  if suffix in ('.npy', '.npz'):
    loaded = _load(path)
    if isinstance(loaded, np.lib.npyio.NpzFile) or loaded.ndim == 4:  # whatever the file is called
      return ImageArrays(path, loaded, channel_axis)
    if suffix == '.npz':
      raise UserError(f'--input {path}: no .npz but one array of the shape {loaded.shape}; call an image .npy')
  if suffix not in images.SUFFIXES:
    raise UserError(f'--input {path}: no image that can be read. Valid: {", ".join(images.SUFFIXES)}, .npz')
  return ImageFiles([path], os.path.dirname(path), size, channel_axis)


class ImageFiles:
  """Files; the nearest `channels.txt`, from a file's own folder up to `root`, names its channels."""

  def __init__(self, files: Sequence[str], root: str, size: int, channel_axis: str):
    self.example_ids = files
    self._size = size
    self._channel_axis = channel_axis
    self._listed = {folder: _listed_names(Path(folder), Path(root)) for folder in {os.path.dirname(f) for f in files}}

  def read(self, index: int) -> tuple[np.ndarray, tuple[str, ...] | None]:
    path = self.example_ids[index]
    image = images.read_image(path, self._size, self._channel_axis)
    count = image.shape[-1]
    listed, where = self._listed[os.path.dirname(path)]
    if listed:
      return image, names.name_channels(count, listed, where)[0]
    return image, OF_OTHERS.get(Path(path).suffix.lower(), OF_PILLOW).get(count)


class ImageArrays:
  """The images of an `.npy` (N, H, W, C), or of an `.npz`, whose `channels` (or `bands`) name their channels."""

  def __init__(self, path: str, loaded: np.ndarray | np.lib.npyio.NpzFile, channel_axis: str):
    self._path = path
    self._channel_axis = channel_axis
    self._names: tuple[str, ...] = ()
    if isinstance(loaded, np.lib.npyio.NpzFile):
      with loaded:
        arrays = {name: _member(loaded, name, path) for name in loaded.files
                  if name == 'images' or name.endswith('_images')}
        named = [name for name in ('channels', 'bands') if name in loaded.files]
        if not arrays:
          raise UserError(f'{path}: no images in it. Expected an array images, or <split>_images; it holds '
                          f'{", ".join(loaded.files) or "nothing"}')
        if named:
          texts = np.atleast_1d(_member(loaded, named[0], path))
          if texts.ndim != 1:
            raise UserError(f'{path}: {named[0]} has the shape {texts.shape}; expected a list of names')
          self._names = tuple(str(name) for name in texts)
    else:
      arrays = {Path(path).stem: loaded}
    for name, array in arrays.items():
      if array.ndim not in (3, 4) or array.dtype.kind not in 'buif':
        raise UserError(f'{path}: {name} has the shape {array.shape} of {array.dtype}; expected numbers (N, H, W, C) '
                        'or (N, H, W)')
    arrays = {name: array for name, array in arrays.items() if array.size}  # without values, any length takes no space
    self._images = [(array, row) for array in arrays.values() for row in range(len(array))]
    self.example_ids: Sequence[str] = [f'{name}[{row}]' for name, array in arrays.items() for row in range(len(array))]
    if not self.example_ids:
      raise UserError(f'{path}: holds no images')

  def read(self, index: int) -> tuple[np.ndarray, tuple[str, ...] | None]:
    array, row = self._images[index]
    image = images.channels_last(array[row], self._channel_axis, self.example_ids[index])
    if self._names:
      return image, names.name_channels(image.shape[-1], self._names, self._path)[0]
    return image, None


def fit(image: np.ndarray, own: tuple[str, ...] | None,
        input_channels: Sequence[str]) -> tuple[np.ndarray, list[str | None], list[str]]:
  """Decides which input channel each channel of an image goes to, by the names that the image came with.

  Args:
    image: (H, W, C).
    own: names of its channels, None where nothing names them.
    input_channels: names of the model's input channels.

  Returns:
    The image, the input channel of each of its channels (None: left out), and notes on what was assumed.

  Raises:
    UserError: the model has none of the channels, or there are more channels without names than input channels.
  """
  count = image.shape[-1]
  if own is None or tuple(input_channels) == names.unnamed(len(input_channels)):  # nor had the model's channels names
    if count > len(input_channels):
      raise UserError(f'{count} channels without names; the model has {len(input_channels)} input channels: '
                      f'{", ".join(input_channels)}')
    filled = input_channels[:count]
    notes = [] if own else [f'channels without names filled the first input channels: {", ".join(filled)}']
    return image, list(filled), notes
  notes = []
  if own in ((GREY,), (GREY, ALPHA)) and GREY not in input_channels and set(RGB) <= set(input_channels):
    image, own = image[..., [0, 0, *range(count)]], (*RGB, *own[1:])
    notes.append('a grey image was read as a colour image whose R, G and B are equal')
  without = [name for name in own if name not in input_channels]
  if len(without) == len(own):
    raise UserError(f'its channels are {", ".join(own)}, the model\'s {", ".join(input_channels)}: none fits. '
                    '--channels names them')
  if without:
    notes.append(f'left out, because the model has no channel of this name: {", ".join(without)}')
  return image, [name if name in input_channels else None for name in own], notes


def _listed_names(folder: Path, root: Path) -> tuple[tuple[str, ...], str]:
  for place in (folder, *folder.parents):
    file = place / 'channels.txt'
    if file.is_file():
      return names.read_channels_file(file)[0], str(file)
    if place == root:
      break
  return (), ''


def _load(path: str) -> np.ndarray | np.lib.npyio.NpzFile:
  try:
    return np.load(path, mmap_mode='r', allow_pickle=False)
  except Exception as error:  # a damaged file makes zip and NumPy raise anything at all
    raise UserError(f'{path}: does not load: {_reason(error)}') from error


def _member(arrays: np.lib.npyio.NpzFile, name: str, path: str) -> np.ndarray:
  try:
    return np.asarray(arrays[name])  # NumPy gives what is no array as bytes
  except Exception as error:
    raise UserError(f'{path}: {name} does not load: {_reason(error)}') from error


def _reason(error: Exception) -> str:
  return ' '.join(str(error).split()) or type(error).__name__

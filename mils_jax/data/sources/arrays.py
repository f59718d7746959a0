"""Arrays: one .npz, or a folder of .npy, with train_images, train_labels and so on."""

import os
from typing import Any

import numpy as np

from mils_jax.config import Section
from mils_jax.data.sources import names, npy, pixels
from mils_jax.data.sources.array_labels import by_name, plain_labels
from mils_jax.data.sources.pixels import AS_IT_IS, NO_NODATA, Reading
from mils_jax.data.sources.registry import DataOptions, register
from mils_jax.data.sources.source import CALLED, SPLITS, Source, Statement, check_classes, hashed_example_id
from mils_jax.errors import UserError, unknown

_TEXTS = ('classes', 'channels', 'bands', 'units')  # arrays that name things
MAX_CLASSES = 10**6  # limit for unnamed classes: a damaged label must not create endless names


class ArraysSource(Source):
  """Images stored as arrays.

  A folder of .npy, or an .npz written by np.savez (without compression), is read through a memory map, whatever its
  size; of an .npz written by np.savez_compressed, one split at a time is held in memory.

  Args:
    path: the .npz, or the folder. Arrays: `<split>_images` (N, H, W, C) or (N, H, W) of uint8, int16, uint16 or
      float32 and `<split>_labels` (in the shapes that `plain_labels` accepts) for train and, optionally, val and test,
      or `images` and `labels` alone, which all splits are cut from; optionally `classes`, `channels` (or `bands`) and
      `units`, arrays of text.
    reading: how images are read; channel_axis 'first' for (N, C, H, W).
    channel_names: names of the channels; empty: those in the file, else R, G, B for three, else c0, c1, ...
    group_by: name of the arrays `<split>_<group_by>` (N,) with the scene, slide or patient of each image; '': none.

  Raises:
    UserError: shapes, counts or types are not as described; the message names the array.
  """

  def __init__(self, path: str, reading: Reading = AS_IT_IS, channel_names: tuple[str, ...] = (),
               group_by: str = ''):
    self.path = os.path.abspath(path)
    if not path or not os.path.exists(self.path):
      raise UserError(f"data.path='{path}': no such file; expected an .npz, or a folder of .npy, with train_images")
    self.reading, self._group_by = reading, group_by
    self._headers = npy.read_headers(self.path)
    self._called = self._find_splits()
    self.splits = tuple(self._called)
    if 'train' not in self.splits:
      raise UserError(f'{self.path}: no train_images or images. It holds: '
                      + (', '.join(sorted(self._headers)) or 'nothing'))
    self._notes: list[str] = []
    self._held: tuple[str, Any] = '', None
    count = {split: self._check_split(split) for split in self.splits}['train']
    self._labels = {split: self._read_labels(split) for split in self.splits}
    self._settle_names(count, channel_names)
    self._settle_classes()
    self._name_unused()
    self.notes = tuple(self._notes)

  def length(self, split: str) -> int:
    return self._headers[self._key(split, 'images')][0][0]

  def labels(self, split: str) -> np.ndarray:
    labels = self._labels[split]
    wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
    if len(wrong):
      raise UserError(f"{self.path}: {self._key(split, 'labels')}[{wrong[0]}] is {labels[wrong[0]]}, and {len(wrong)} "
                      f'labels in all are out of range; valid: 0 to {len(self.classes) - 1}')
    return np.array(labels, np.int32)

  def groups(self, split: str) -> np.ndarray | None:
    name = self._key(split, self._group_by)
    if not self._group_by or (split != 'train' and name not in self._headers):
      return None
    if name not in self._headers:
      start = self._key(split, '')
      others = {key.removeprefix(start) for key, (shape, *_) in self._headers.items()
                if key.startswith(start) and shape == (self.length(split),)} - {'labels', *_TEXTS}
      raise UserError(f'{self.path}: {unknown("data.group_by", self._group_by, sorted(others))}')
    if self._headers[name][0] != (self.length(split),):
      raise UserError(f'{self.path}: {name} has shape {self._headers[name][0]}; expected ({self.length(split)},), one '
                      'group for each image')
    return np.asarray(npy.load(self.path, name)).astype(str)

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    image = pixels.channels_last(self.images(split)[index], self.reading.channel_axis,
                                 f"{self.path}: {self._key(split, 'images')}")
    image = pixels.without_nodata(image, self.reading.nodata)
    return pixels.resize_square(image, self.reading.size), int(self._labels[split][index])

  def example_id(self, split: str, index: int) -> str:
    return hashed_example_id(split, self.images(split)[index])

  def place(self, split: str, index: int) -> str:
    return f"{self._key(split, 'images')}[{index}]"

  def settings(self) -> dict:
    nodata = self.reading.nodata
    return {'source': 'arrays', 'image_size': self.reading.size, 'channel_axis': self.reading.channel_axis,
            'channels': self.channels, 'units': self.units, 'classes': self.classes,
            **({'nodata': nodata} if nodata not in (NO_NODATA, pixels.FROM_FILE) else {})}

  def inputs(self) -> list[tuple[str, int, int]]:
    files = [self.path]
    if os.path.isdir(self.path):
      files = [os.path.join(self.path, f'{name}.npy') for name in sorted(self._headers)]
    return [(os.path.basename(file), os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files]

  def __getstate__(self) -> dict:
    return {**self.__dict__, '_held': ('', None)}  # open arrays are not pickled with the source for another process

  def images(self, split: str) -> np.ndarray:
    """A split's images as stored, mapped from the file where it is not compressed."""
    name = self._key(split, 'images')
    if self._held[0] != name:  # one split's at a time: each may be most of the memory
      self._held = '', None
      self._held = name, npy.load(self.path, name)
    return self._held[1]

  def _key(self, split: str, what: str) -> str:
    """The name of an array of a split."""
    return f'{self._called[split]}_{what}' if self._called[split] else what

  def _find_splits(self) -> dict[str, str]:
    """By split, the prefix of its arrays, such as val or valid; '' where they are just called images and labels."""
    found = {}
    for split in SPLITS:
      called = [name for name in CALLED[split] if f'{name}_images' in self._headers]
      if len(called) > 1:
        raise UserError(f'{self.path}: {"_images and ".join(called)}_images are all called like the {split} split; '
                        'expected one of them')
      if called:
        found[split] = called[0]
    if 'train' not in found and 'images' in self._headers:
      found['train'] = ''
    return found

  def _check_split(self, split: str) -> int:
    """Checks one split's shapes and types, and returns its number of channels."""
    images, labels = (self._key(split, what) for what in ('images', 'labels'))
    where = f'{self.path}: {images}'
    shape, _, dtype = self._headers[images]
    pixels.check_dtype(dtype, where)
    if len(shape) not in (3, 4):
      raise UserError(f'{where}: shape {shape}; expected (N, H, W, C) or (N, H, W)')
    if 0 in shape:
      raise UserError(f'{where}: shape {shape}: an empty split; expected at least one image')
    if labels not in self._headers:
      raise UserError(f'{where} without {labels}')
    labels_shape, _, labels_dtype = self._headers[labels]
    if labels_dtype.kind not in 'biufUS' or len(labels_shape) not in (1, 2) or labels_shape[:1] != shape[:1]:
      raise UserError(f'{self.path}: {labels} has shape {labels_shape} and type {labels_dtype}; '
                      f'expected {shape[:1]} whole numbers, as {images} has shape {shape}')
    image = pixels.channels_last(np.broadcast_to(np.empty((), dtype), shape[1:]), self.reading.channel_axis, where)
    train_shape, _, train_dtype = self._headers[self._key('train', 'images')]
    if (shape[1:], dtype) != (train_shape[1:], train_dtype):
      raise UserError(f'{where}: images {shape[1:]} of {dtype}, but {self._key("train", "images")} has '
                      f'{train_shape[1:]} of {train_dtype}')
    return image.shape[-1]

  def _read_labels(self, split: str) -> np.ndarray:
    name = self._key(split, 'labels')
    labels, note = plain_labels(np.asarray(npy.load(self.path, name)), name)
    if note:
      self._notes.append(note)
    return labels

  def _settle_names(self, count: int, channel_names: tuple[str, ...]) -> None:
    given = next((name for name in ('channels', 'bands') if name in self._headers), '')
    where = 'data.channel_names'
    listed = self._texts(given) if given and (not channel_names or len(self._headers[given][0]) < 2) else ()
    self.stated_channels = Statement.of(count, listed if channel_names else (), (), ())
    if listed and not channel_names:
      channel_names, where = listed, f'{self.path}: {given}'
    self.channels, notes = names.name_channels(count, channel_names, where)
    self._notes += notes
    self.units = self._texts('units') if 'units' in self._headers else ('',) * count
    if len(self.units) != count:
      raise UserError(f'{self.path}: {len(self.units)} units, but the images have {count} channels')

  def _settle_classes(self) -> None:
    """Determines the names of the classes, and converts text labels to numbers by them."""
    train = self._labels['train']
    if 'classes' in self._headers:
      self.classes = self._texts('classes')
      check_classes(self.classes, f'{self.path}: classes')
    elif train.dtype.kind == 'U':
      self.classes = tuple(sorted(set(train.tolist())))
    else:
      highest = int(train.max())
      shape = self._headers[self._key('train', 'labels')][0]
      if len(shape) == 2 and shape[1] > 1:  # one-hot rows have a column for a class that only another split has, too
        others = [int(labels.max()) for labels in self._labels.values() if labels.dtype.kind != 'U']
        highest = min(max(others), shape[1] - 1)
      if highest >= MAX_CLASSES:
        raise UserError(f'{self.path}: {self._key("train", "labels")} go up to {highest}; expected fewer than '
                        f'{MAX_CLASSES}, or an array classes that names them')
      self.classes = tuple(str(label) for label in range(highest + 1))
    for split, labels in self._labels.items():
      if labels.dtype.kind == 'U':
        self._labels[split] = by_name(labels, self.classes, f'{self.path}: {self._key(split, "labels")}')

  def _name_unused(self) -> None:
    used = {self._key(split, what) for split in self.splits for what in ('images', 'labels', self._group_by)}
    others = sorted(set(self._headers) - used - {*_TEXTS})
    if others:
      self._notes.append(f'{os.path.basename(self.path)}: not used, because no split is called so: '
                         + ', '.join(others[:10]) + (f' and {len(others) - 10} more' if len(others) > 10 else ''))

  def _texts(self, name: str) -> tuple[str, ...]:
    array = np.atleast_1d(npy.load(self.path, name))  # one name may stand alone
    if array.ndim != 1:
      raise UserError(f'{self.path}: {name} has shape {array.shape}; expected a list of names')
    return tuple(str(value) for value in array)


@register('arrays', Section, title='NumPy arrays')
def open_arrays_source(data: DataOptions, _: Section) -> ArraysSource:
  return ArraysSource(data.path, data.reading, data.names, data.group_by)

"""A folder of image files: split lists (`relative/path label` a line), or trees `train/<class>/...`."""

import dataclasses
import os
import re
import stat
from pathlib import Path
from typing import ClassVar

import numpy as np

from mils_jax.config import Section, option
from mils_jax.data.sources import images, names
from mils_jax.data.sources.registry import DataOptions, register
from mils_jax.data.sources.source import SPLITS
from mils_jax.errors import UserError

_LABEL = re.compile('-?[0-9]{1,9}')


class FolderSource:
  """Reads JPEG, PNG and the like through Pillow, TIFF through tifffile, and `.npy` images.

  Args:
    root: holds `train.txt` (then also, if there, `val.txt`, `test.txt` and `classes.txt`), or `train/<class>/...`
      (then also `val/` and `test/`); `channels.txt` may name the channels, one a line, with their units.
    image_size: side of the square that every image becomes; 0: images keep their size, which must be the same.
    channel_names: names of the channels; empty: those of `channels.txt`, else R, G, B for three, else c0, c1, ...
    channel_axis: 'first' or 'last' for `.npy` and TIFF files that do not tell which axis the channels are, else ''.
    allow_outside: let images lie outside of root: by absolute paths or `..` in the lists, or by links.

  Raises:
    UserError: a folder, list or line is not as described; the message names it.
  """

  decodes = True

  def __init__(self, root: str, image_size: int = 0, channel_names: tuple[str, ...] = (), channel_axis: str = '',
               allow_outside: bool = False):
    self.root = os.path.abspath(root)
    if not root or not os.path.isdir(self.root):
      raise UserError(f"data.path='{root}': no such folder; expected one with train.txt or train/<class>/ in it")
    self.image_size = image_size
    self.channel_axis = channel_axis
    self.allow_outside = allow_outside
    if os.path.isfile(os.path.join(self.root, 'train.txt')):
      self._read_lists()
    elif os.path.isdir(os.path.join(self.root, 'train')):
      self._read_trees()
    else:
      raise UserError(f"data.path='{root}': has neither a list train.txt nor a folder train/<class>/")
    for split, files in self._files.items():
      if not files:
        raise UserError(f"data.path='{root}': the {split} split is empty; expected at least one image")
      for folder, name in {os.path.dirname(name): name for name in files}.items():
        self._check_inside(split, name, folder)
    self._name_channels(channel_names)

  @property
  def splits(self) -> tuple[str, ...]:
    return tuple(self._files)

  def length(self, split: str) -> int:
    return len(self._files[split])

  def labels(self, split: str) -> np.ndarray:
    return self._labels[split]

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    path = os.path.join(self.root, self._files[split][index])
    return images.read_image(path, self.image_size, self.channel_axis), int(self._labels[split][index])

  def example_id(self, split: str, index: int) -> str:
    return self._files[split][index]

  def place(self, split: str, index: int) -> str:
    return self._files[split][index]

  def settings(self) -> dict:
    return {'source': 'folder', 'image_size': self.image_size, 'channel_axis': self.channel_axis,
            'channels': self.channels, 'units': self.units, 'classes': self.classes}

  def inputs(self) -> list[tuple[str, int, int]]:
    root = os.open(self.root, os.O_RDONLY)  # from here a name is found sooner than from the top
    try:
      return [(f'{split} {label} {name}', *self._size_and_time(root, split, name)) for split, files in
              self._files.items() for name, label in zip(files, self._labels[split].tolist(), strict=True)]
    finally:
      os.close(root)

  def _size_and_time(self, root: int, split: str, name: str) -> tuple[int, int]:
    try:
      status = os.stat(name, dir_fd=root, follow_symlinks=False)
      if stat.S_ISLNK(status.st_mode):
        self._check_inside(split, name, name)
        status = os.stat(name, dir_fd=root)
    except (OSError, ValueError) as error:  # ValueError: a character that no path can have
      raise UserError(f'{self._origin[split]}: {name[:120]!r}: no such image beneath {self.root}') from error
    return status.st_size, status.st_mtime_ns

  def _read_lists(self) -> None:
    self._files, self._labels, self._origin = {}, {}, {}
    for split in SPLITS:
      path = os.path.join(self.root, f'{split}.txt')
      if os.path.isfile(path):
        self._files[split], self._labels[split] = _read_list(path)
        self._origin[split] = path
    classes_file = Path(self.root, 'classes.txt')
    used = {label for label in self._labels['train'].tolist() if label >= 0}
    if classes_file.is_file():
      self.classes = _read_classes(classes_file)
    elif used == set(range(len(used))):
      self.classes = tuple(str(label) for label in range(len(used)))
    else:
      missing = min(set(range(len(used))) - used)
      raise UserError(f"{self._origin['train']}: label {missing} never occurs, but {max(used)} does; expected every "
                      'label from 0 on, or a classes.txt that lists the classes')
    for split, labels in self._labels.items():
      wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
      if len(wrong):
        row = wrong[0]
        raise UserError(f'{self._origin[split]}: label {labels[row]} of {self._files[split][row]} is out of range; '
                        f'valid: 0 to {len(self.classes) - 1}')

  def _read_trees(self) -> None:
    self.classes = tuple(_folders(os.path.join(self.root, 'train')))
    if not self.classes:
      raise UserError(f"{os.path.join(self.root, 'train')}: no class folders in it; expected train/<class>/...")
    self._files, self._labels, self._origin = {}, {}, {}
    for split in SPLITS:
      tree = os.path.join(self.root, split)
      if not os.path.isdir(tree):
        continue
      files, labels = [], []
      for name in _folders(tree):
        if name not in self.classes:
          raise UserError(f"{tree}: class folder '{name}' is not in train/. Valid: {', '.join(self.classes)}")
        found = images_beneath(os.path.join(tree, name), f'{split}/{name}')
        files += found
        labels += [self.classes.index(name)] * len(found)
      self._files[split], self._labels[split], self._origin[split] = files, np.array(labels, np.int32), tree

  def _check_inside(self, split: str, name: str, path: str) -> None:
    """Raises UserError where a path, that of an image or its folder, leads out of the root, by a link too."""
    if self.allow_outside or '\0' in path:  # a character that no path can have: reported when its image is listed
      return
    root = os.path.realpath(self.root)
    if os.path.commonpath([root, os.path.realpath(os.path.join(root, path))]) != root:
      raise UserError(f"{self._origin[split]}: '{name[:120]}' lies outside of {self.root}, perhaps by a link; expected "
                      'paths beneath it (data.folder.allow_outside=true allows others)')

  def _name_channels(self, channel_names: tuple[str, ...]) -> None:
    count = self.read('train', 0)[0].shape[-1]
    file = Path(self.root, 'channels.txt')
    units: tuple[str, ...] = ()
    where = 'data.channel_names'
    if file.is_file():
      listed, listed_units = names.read_channels_file(file)
      if not channel_names:
        channel_names, where = listed, str(file)
      units = listed_units
    self.channels, self.notes = names.name_channels(count, channel_names, where)
    self.units = units if len(units) == count else ('',) * count


def _read_list(path: str) -> tuple[list[str], np.ndarray]:
  """The relative paths and labels of a split list; empty lines are skipped."""
  files, labels = [], []
  for number, line in enumerate(names.read_text(path).split('\n'), 1):
    parts = line.rsplit(maxsplit=1)
    if not parts:
      continue
    if len(parts) == 1 or not _LABEL.fullmatch(parts[1]):
      raise UserError(f"{path}, line {number}: '{line.strip()[:120]}'; expected 'relative/path label', "
                      'the label being a whole number')
    files.append(parts[0].strip())
    labels.append(int(parts[1]))
  if not files:
    raise UserError(f'{path}: an empty list; expected lines of the form relative/path label')
  return files, np.array(labels, np.int32)


def _read_classes(path: Path) -> tuple[str, ...]:
  """Class names, one a line; a line may begin with the label, if all do, in order."""
  lines = [line.strip() for line in names.read_text(path).splitlines() if line.strip()]
  if not lines:
    raise UserError(f'{path}: an empty list; expected one class name a line')
  parts = [line.split(maxsplit=1) for line in lines]
  if all(len(part) == 2 and part[0] == str(label) for label, part in enumerate(parts)):
    return tuple(part[1] for part in parts)
  return tuple(lines)


def _folders(path: str) -> list[str]:
  with os.scandir(path) as entries:
    return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith('.'))


def images_beneath(folder: str, prefix: str) -> list[str]:
  """Relative paths, beginning with `prefix`, of all images in a folder and its subfolders, sorted."""
  found = []
  with os.scandir(folder) as entries:
    for entry in sorted(entries, key=lambda entry: entry.name):
      if entry.name.startswith('.'):
        continue
      if entry.is_dir():
        found += images_beneath(entry.path, f'{prefix}/{entry.name}')
      elif entry.name.lower().endswith(images.SUFFIXES):
        found.append(f'{prefix}/{entry.name}')
  return found


@dataclasses.dataclass(frozen=True)
class FolderOptions(Section):
  """What folders alone have."""

  section: ClassVar[str] = 'data.folder'

  allow_outside: bool = option(False, "let images lie outside of the folder, by a list's paths or by links")


@register('folder', FolderOptions)
def open_folder_source(data: DataOptions, own: FolderOptions) -> FolderSource:
  return FolderSource(data.path, data.image_size, data.names, data.channel_axis, own.allow_outside)

"""Finds the images of a folder and their labels: split lists, trees of splits, or class folders alone."""

import dataclasses
import os

import numpy as np

from mils_jax.data.sources import image_formats, lists
from mils_jax.data.sources.source import CALLED, SPLITS
from mils_jax.errors import UserError

_NO_DATA = {'readme', 'license', 'licence', 'requirements', 'source'}  # names of text files that list no images


@dataclasses.dataclass
class Layout:
  """The images of a folder.

  Attributes:
    files: per split, relative paths.
    labels: per split, (N,) int32.
    groups: per split whose table has groups, (N,) text.
    origin: per split, the list or folder that it comes from, for messages.
    classes: names of the classes.
    notes: notes on what was left out or assumed.
  """

  files: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  labels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  groups: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
  origin: dict[str, str] = dataclasses.field(default_factory=dict)
  classes: tuple[str, ...] = ()
  notes: list[str] = dataclasses.field(default_factory=list)


def find_layout(root: str, label_column: str = '', group_column: str = '') -> Layout:
  """Finds the images of a folder; raises UserError, which names the location, where no layout matches."""
  with os.scandir(root) as entries:
    there = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith('.'))
  folders, files = ([name for name, is_folder in there if is_folder == wanted] for wanted in (True, False))
  texts = [name for name in files if image_formats.suffix(name) in ('.txt', '.csv')]
  split_lists, split_folders = _called(texts, root), _called(folders, root)
  if 'train' in split_lists:
    layout = _from_lists(root, split_lists, split_folders, label_column, group_column)
    beside = [name for name in texts if name not in split_lists.values() and _may_be_a_list(name, layout)]
  else:
    is_tree = 'train' in split_folders
    layout = _from_trees(root, split_folders) if is_tree else _from_class_folders(root, folders, files, split_folders)
    own = {*split_folders.values(), *(() if is_tree else layout.classes)}
    beside = [f'{name}/' for name in folders
              if name not in own and image_formats.holds_images(os.path.join(root, name))]
  for name in layout.classes:
    if name.encode(errors='replace') != name.encode(errors='surrogateescape'):
      raise UserError(f'{root}: the class folder {name!r} has no name in UTF-8; expected one')
  if beside:
    layout.notes.append(f'not used, because no split (train, val or test) is called so: {", ".join(beside)}')
  return layout


def _called(names: list[str], root: str) -> dict[str, str]:
  """By split, the one of the names that denotes it; raises UserError where two do."""
  found = {}
  for split in SPLITS:
    mine = [name for name in names if name.lower().removesuffix('.txt').removesuffix('.csv') in CALLED[split]]
    plain = [name for name in mine if image_formats.suffix(name) == '.txt']
    mine = plain if len(mine) > len(plain) == 1 else mine  # train.txt is preferred over a train.csv beside it
    if len(mine) > 1:
      raise UserError(f'{root}: {" and ".join(mine)} are all called like the {split} split; expected one of them')
    if mine:
      found[split] = mine[0]
  return found


def _may_be_a_list(name: str, layout: Layout) -> bool:
  """Whether a text file is worth a note that it is not used: it lists no channels, and has no note yet."""
  stem = os.path.splitext(name)[0].lower()
  noted = any(note.startswith(f'{name}:') for note in layout.notes)
  return stem not in (*_NO_DATA, 'classes', 'channels') and not noted


def _from_lists(root: str, split_lists: dict[str, str], split_folders: dict[str, str], *columns: str) -> Layout:
  layout = Layout()
  entries: dict[str, lists.Entries] = {}
  for split, name in split_lists.items():
    read = lists.read(os.path.join(root, name), root, split_folders.get(split, ''), *columns)
    if read.labels is None:
      layout.notes.append(f'{name}: {len(read.files)} images without labels are not used; the {split} split is cut '
                          'from training')
      continue
    entries[split] = read
    layout.notes += [read.note] if read.note else []
    layout.files[split], layout.origin[split] = read.files, os.path.join(root, name)
    if read.groups is not None:
      layout.groups[split] = np.array(read.groups)
  for split in split_folders:
    if split not in split_lists:
      _note_unused(root, split, split_folders[split], f'that have no list beside {split_lists["train"]}', layout)
  layout.classes, layout.labels = lists.numbered(entries, layout.origin, root)
  return layout


def _from_trees(root: str, trees: dict[str, str]) -> Layout:
  """The layout train/<class>/..., with the other splits likewise if they are there."""
  classes, notes = lists.ordered(_folders(os.path.join(root, trees['train'])), root)
  layout = Layout(classes=classes, notes=notes)
  if not layout.classes:
    raise UserError(f"{os.path.join(root, trees['train'])}: no class folders in it; expected train/<class>/...")
  for split, name in trees.items():
    _add_tree(root, split, name, layout)
  return layout


def _from_class_folders(root: str, folders: list[str], files: list[str], trees: dict[str, str]) -> Layout:
  """The layout <class>/... alone: all missing splits are cut from it."""
  own = [name for name in folders if name not in trees.values()]
  closed = [name for name in own if not os.access(os.path.join(root, name), os.R_OK | os.X_OK)]
  every = {name: _listed(root, name) for name in own if name not in closed}
  listed = {name: found for name, found in every.items() if found[0]}
  classes = list(listed)
  if len(classes) < 2:
    raise UserError(f"data.path='{root}': has neither a list train.txt or train.csv, nor a folder train/<class>/, nor "
                    'class folders of its own')
  names, notes = lists.ordered(classes, root)
  layout = Layout(classes=names, notes=notes)
  _add_classes(layout, 'train', listed, root)
  layout.notes.append(f'splits: {root} holds {len(classes)} class folders and no split: ' + ', '.join(classes[:10])
                      + (f' and {len(classes) - 10} more' if len(classes) > 10 else ''))
  if closed:
    layout.notes.append(f'left out, because they may not be read: {", ".join(f"{name}/" for name in closed)}')
  unreadable = {name: rest for name, (found, rest) in every.items()
                if not found and any(map(image_formats.is_image, rest))}
  _note_others([file for rest in unreadable.values() for file in rest],
               f'left out, because they hold no image that can be read: {", ".join(f"{name}/" for name in unreadable)}',
               layout)
  _note_others([file for file in files if image_formats.is_image(file)],
               'left out, because they lie in no class folder', layout)
  for split, name in trees.items():
    _add_tree(root, split, name, layout)
  return layout


def _add_tree(root: str, split: str, name: str, layout: Layout) -> None:
  """Adds a split with class folders, or notes that it has none."""
  tree = os.path.join(root, name)
  folders = _folders(tree)
  if not folders or (len(folders) == 1 and folders[0] not in layout.classes):  # test/images/
    _note_unused(root, split, name, 'without labels (no class folders or list)', layout)
    return
  _note_others([f'{name}/{file}' for file in sorted(os.listdir(tree)) if image_formats.is_readable(file)],
               f'{name}/: left out, because they lie in no class folder', layout)
  for folder in folders:
    if folder not in layout.classes:
      raise UserError(f"{tree}: class folder '{folder}' is not in the training split. Valid: "
                      f'{", ".join(layout.classes)}')
  _add_classes(layout, split, {folder: _listed(root, f'{name}/{folder}') for folder in folders}, tree)


def _listed(root: str, folder: str) -> tuple[list[str], list[str]]:
  return image_formats.images_beneath(os.path.join(root, folder), folder)


def _add_classes(layout: Layout, split: str, listed: dict[str, tuple[list[str], list[str]]], origin: str) -> None:
  """Adds the images of a split by their classes; `listed` has, by class, the images and other files of its folder."""
  files: list[str] = []
  labels: list[int] = []
  others: list[str] = []
  for name, (found, rest) in listed.items():
    files += found
    others += [file for file in rest if os.path.basename(file) != 'channels.txt']
    labels += [layout.classes.index(name)] * len(found)
  layout.files[split], layout.labels[split], layout.origin[split] = files, np.array(labels, np.int32), origin
  _note_others(others, f'{split}: left out, because they are no images that can be read', layout)


def _note_others(files: list[str], what: str, layout: Layout) -> None:
  if files:
    layout.notes.append(f'{what}: {image_formats.by_suffix(files)}, such as {files[0]}')


def _note_unused(root: str, split: str, name: str, why: str, layout: Layout) -> None:
  count = len(image_formats.images_beneath(os.path.join(root, name), name)[0])
  if count:
    layout.notes.append(f'{name}/: {count} images {why} are not used; the {split} split is cut from training')


def _folders(path: str) -> list[str]:
  with os.scandir(path) as entries:
    return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith('.'))

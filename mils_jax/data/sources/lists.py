"""Split lists: which images belong to a split, with their labels, from plain lines or a table (CSV)."""

import csv
import dataclasses
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mils_jax.data.sources import image_formats, names
from mils_jax.data.sources.source import CALLED, check_classes
from mils_jax.errors import UserError, unknown

_LABEL = re.compile('-?[0-9]{1,9}')
_FILES = ('path', 'file', 'filename', 'file_name', 'filepath', 'file_path', 'image', 'image_path', 'image_name', 'img',
          'id', 'image_id', 'name')  # common names of the column of images
_LABELS = ('label', 'labels', 'class', 'class_name', 'class_id', 'target', 'category', 'y')  # and of labels


@dataclasses.dataclass(frozen=True)
class Entries:
  """The entries of a split list.

  Attributes:
    files: relative paths.
    labels: label of each image, as written; None where the list has none.
    lines: line number of each entry.
    note: note on what was assumed.
    groups: group of each image, by a table's column; None without one.
  """

  files: list[str]
  labels: list[str] | None
  lines: list[int]
  note: str = ''
  groups: list[str] | None = None


def read(path: str, root: str, folder: str, label_column: str, group_column: str = '') -> Entries:
  """Reads a list.

  Args:
    path: path of the list: a `.csv`, or lines `relative/path label`, or `relative/path,label`.
    root: folder that paths are relative to.
    folder: the split's own folder, relative to root, where a table's images may lie too; '': none.
    label_column: the column of labels of a table; '': found by its name.
    group_column: the column of groups of a table; '': none. Only training's has to have it.

  Raises:
    UserError: a line is invalid.
  """
  text = names.read_text(path)
  is_table = image_formats.suffix(path) == '.csv'
  columns = label_column, group_column
  entries = _read_table(path, text, root, folder, *columns) if is_table else _read_lines(path, text)
  if not entries.files:
    raise UserError(f'{path}: an empty list; expected lines of the form relative/path label')
  return _each_once(path, entries)


def _each_once(path: str, entries: Entries) -> Entries:
  """The entries without repeated ones, which splits that are cut would share; raises UserError for two classes."""
  first: dict[str, int] = {}
  kept = []
  for row, file in enumerate(map(os.path.normpath, entries.files)):
    before = first.setdefault(file, row)
    if before == row:
      kept.append(row)
      continue
    for what, values in (('class', entries.labels), ('group', entries.groups)):
      if values and values[row] != values[before]:
        raise UserError(f"{path}, line {entries.lines[row]}: {file} is '{values[row]}' here and '{values[before]}' in "
                        f'line {entries.lines[before]}; expected one {what} for each image')
  if len(kept) == len(entries.files):
    return entries
  repeated = len(entries.files) - len(kept)
  notes = [entries.note, f'{os.path.basename(path)}: {repeated} lines name an image again, which counts once']
  return Entries([entries.files[row] for row in kept], entries.labels and [entries.labels[row] for row in kept],
                 [entries.lines[row] for row in kept], '; '.join(filter(None, notes)),
                 entries.groups and [entries.groups[row] for row in kept])


def ordered(folders: Sequence[str], root: str) -> tuple[tuple[str, ...], list[str]]:
  """Names of class folders in the order of classes.txt, if it lists exactly these, and a note on the outcome."""
  file = Path(root, 'classes.txt')
  if not file.is_file():
    return tuple(folders), []
  try:
    given = _read_classes(file)
  except UserError as error:
    return tuple(folders), [f'classes.txt is not used: {str(error).removeprefix(f"{file}: ")}']
  if sorted(given) != sorted(folders):
    other = next((name for name in given if name not in folders), None)
    reason = f'{other} is no class folder' if other else 'some class folders are not in it'
    return tuple(folders), [f'classes.txt is not used: {reason}']
  return given, [f'classes.txt orders the classes: {given[0]} is the first'] if given != tuple(folders) else []


def numbered(entries: dict[str, Entries], origin: dict[str, str], root: str
             ) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
  """The classes and, per split, labels (N,) int32, from lists whose labels are all numbers or all names.

  Raises:
    UserError: labels are mixed, a number is out of range, or a name does not occur in the training split.
  """
  file = Path(root, 'classes.txt')
  given = _read_classes(file) if file.is_file() else ()
  for split, one in entries.items():
    for label, line in zip(one.labels or (), one.lines, strict=True):
      if re.fullmatch('-?[0-9]{10,}', label):
        raise UserError(f"{origin[split]}, line {line}: label '{label[:20]}...' is too large")
  labels = {split: list(one.labels or ()) for split, one in entries.items()}
  are_numbers = {split: [bool(_LABEL.fullmatch(label)) for label in own] for split, own in labels.items()}
  by_number = sum(are_numbers['train']) * 2 >= len(labels['train']) and not set(labels['train']) <= set(given)
  for split, one in entries.items():
    odd = [row for row, is_number in enumerate(are_numbers[split]) if is_number != by_number]
    if odd and (by_number or not given):
      line = f'{one.files[odd[0]][:120]} {labels[split][odd[0]]}'
      raise UserError(f"{origin[split]}, line {one.lines[odd[0]]}: '{line}'; expected 'relative/path label', the "
                      f"label being a {'whole number' if by_number else 'name'} as in the other lines")
  if by_number:
    return _by_number(entries, origin, given, labels)
  classes = given or tuple(sorted(set(labels['train'])))
  numbers = {name: number for number, name in enumerate(classes)}
  for split, one in entries.items():
    for row, label in enumerate(labels[split]):
      if label not in numbers:
        raise UserError(f'{origin[split]}, line {one.lines[row]}: {unknown("class", label, classes)}')
  return classes, {split: np.array([numbers[label] for label in own], np.int32) for split, own in labels.items()}


def _by_number(entries: dict[str, Entries], origin: dict[str, str], given: tuple[str, ...],
               labels: dict[str, list[str]]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
  numbers = {split: np.array([int(label) for label in own], np.int32) for split, own in labels.items()}
  used = {label for label in numbers['train'].tolist() if label >= 0}
  if not given and used != set(range(len(used))):
    missing = min(set(range(len(used))) - used)
    raise UserError(f"{origin['train']}: label {missing} never occurs, but {max(used)} does; expected every label from "
                    '0 on, or a classes.txt that lists the classes')
  classes = given or tuple(str(label) for label in range(len(used)))
  for split, own in numbers.items():
    wrong = np.flatnonzero((own < 0) | (own >= len(classes)))
    if len(wrong):
      raise UserError(f'{origin[split]}: label {own[wrong[0]]} of {entries[split].files[wrong[0]]} is out of range; '
                      f'valid: 0 to {len(classes) - 1}')
  return classes, numbers


def _read_lines(path: str, text: str) -> Entries:
  files, labels, lines = [], [], []
  for number, line in enumerate(text.split('\n'), 1):
    if not line.strip():
      continue
    parts = line.rsplit(maxsplit=1)
    if not (len(parts) == 2 and _LABEL.fullmatch(parts[1])) and ',' in line:
      parts = line.rsplit(',', maxsplit=1)
    if len(parts) < 2 or not parts[1].strip() or not parts[0].strip(' ,\t'):
      raise UserError(f"{path}, line {number}: '{line.strip()[:120]}'; expected 'relative/path label'")
    files.append(parts[0].strip().rstrip(','))
    labels.append(parts[1].strip())
    lines.append(number)
  return Entries(files, labels, lines)


def _read_table(path: str, text: str, root: str, folder: str, label_column: str, group_column: str) -> Entries:
  head = text.split('\n', maxsplit=1)[0]
  delimiter = max(',;\t', key=head.count)
  try:
    rows = [(number, [cell.strip() for cell in row])
            for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1) if any(row)]
  except csv.Error as error:
    raise UserError(f'{path}: is no table that can be read: {error}') from error
  if not rows:
    return Entries([], [], [])
  find = _Finder(path, root, folder)
  first = rows[0][1]
  usual = [cell.lower() in (*_FILES, *_LABELS) for cell in first]
  headed = not any(image_formats.is_image(cell) or (not is_usual and find.knows(cell))
                   for cell, is_usual in zip(first, usual, strict=True))
  note = (f'{os.path.basename(path)}: its first line ({head.strip()[:120]}) was read as the names of its columns'
          if headed and not any(usual) else '')
  header = first if headed else [str(number) for number in range(1, len(first) + 1)]
  rows = rows[1:] if headed else rows
  file_column = _file_column(header, rows, find, headed, path)
  if group_column and group_column not in header and _is_training(path):
    raise UserError(f'{path}: {unknown("data.group_by", group_column, header)}')
  group = header.index(group_column) if group_column and group_column in header else None
  if group is not None and (group == file_column or group_column == label_column or group_column.lower() in _LABELS):
    raise UserError(f"{path}: data.group_by='{group_column}' is the column of the images or of the labels; expected "
                    'that of scenes, patients or the like')
  label = _label_column(header, file_column, label_column, path, group)
  uneven = next((number for number, row in rows if len(row) != len(header)), None)
  if uneven is not None:
    raise UserError(f'{path}, line {uneven}: another number of columns than the first line, which has {len(header)}')
  if label is None and _is_training(path):
    raise UserError(f'{path}: no column of labels. Its columns: {", ".join(header)} (data.folder.label_column names '
                    'that of the labels)')
  files = [find(row[file_column]) or row[file_column] for _, row in rows]
  labels = [row[label] for _, row in rows] if label is not None else None
  unlabelled = [number for number, row in rows if label is not None and not row[label]]
  if len(unlabelled) == len(rows) and not _is_training(path):
    labels = None
  elif unlabelled:
    raise UserError(f'{path}, line {unlabelled[0]}: no label; expected the class of each image')
  groups = [row[group] for _, row in rows] if group is not None else None
  return Entries(files, labels, [number for number, _ in rows], note, groups)


def _is_training(path: str) -> bool:
  return Path(path).stem.lower() in CALLED['train']


class _Finder:
  """Finds the image that a table's cell refers to by a path, or by a name with or without suffix."""

  def __init__(self, path: str, root: str, folder: str):
    self._path, self._root, self._folder = path, root, folder
    self._known: dict[str, list[str]] | None = None

  def __call__(self, cell: str) -> str:
    """The relative path of the image, '' where there is none; raises UserError where there are several."""
    there = self._at(cell)
    places = [there] if there else self.named(cell)
    if len(places) > 1:
      raise UserError(f"{self._path}: '{cell[:120]}' may mean {places[0]} or {places[1]}; expected paths relative to "
                      f'{self._root}')
    return places[0] if places else ''

  def knows(self, cell: str) -> bool:
    """Whether there is at least one such image."""
    return bool(self._at(cell) or self.named(cell))

  def named(self, name: str) -> list[str]:
    """The relative paths of the images with this name or stem."""
    if self._known is None:
      self._known = self._index()
    return self._known.get(name, [])

  def _at(self, cell: str) -> str:
    """The relative path of the image at this path, '' where there is none."""
    if not cell or '\0' in cell:
      return ''
    for place in (cell, f'{self._folder}/{cell}' if self._folder else cell):
      if image_formats.is_image(place) and os.path.isfile(os.path.join(self._root, place)):
        return place
    return ''

  def _index(self) -> dict[str, list[str]]:
    """Relative paths of the images in the split's folder (without one, in the whole root) by name and by stem."""
    known: dict[str, list[str]] = {}
    for place in image_formats.images_beneath(os.path.join(self._root, self._folder), self._folder or '.')[0]:
      name = os.path.basename(place)
      for key in (name, os.path.splitext(name)[0]):
        known.setdefault(key, []).append(os.path.normpath(place))
    return known


def _file_column(header: list[str], rows: list, find: _Finder, headed: bool, path: str) -> int:
  if headed:
    for name in _FILES:
      if name in [cell.lower() for cell in header]:
        return [cell.lower() for cell in header].index(name)
  for column in range(len(header)):
    cell = rows[0][1][min(column, len(rows[0][1]) - 1)] if rows else ''
    if header[column].lower() not in _LABELS and (image_formats.is_image(cell) or find.knows(cell)):
      return column
  raise UserError(f'{path}: no column names images. Its columns: {", ".join(header)}; expected one called '
                  f'{", ".join(_FILES[:4])} or the like')


def _label_column(header: list[str], files: int, asked: str, path: str, groups: int | None) -> int | None:
  others = [column for column in range(len(header)) if column not in (files, groups)]
  if asked:
    if asked not in header or header.index(asked) == files:
      if _is_training(path):
        raise UserError(f'{path}: {unknown("data.folder.label_column", asked, [header[column] for column in others])}')
      return None
    return header.index(asked)
  called = [column for column in others if header[column].lower() in _LABELS]
  candidates = called or others
  if len(candidates) > 1:
    raise UserError(f'{path}: several columns may be the labels: {", ".join(header[column] for column in candidates)}. '
                    'data.folder.label_column names the one')
  return candidates[0] if candidates else None


def _read_classes(path: Path) -> tuple[str, ...]:
  """Reads class names, one per line; lines may begin with the label, if all do, in order."""
  lines = [line.strip() for line in names.read_text(path).splitlines() if line.strip()]
  if not lines:
    raise UserError(f'{path}: an empty list; expected one class name a line')
  parts = [line.split(maxsplit=1) for line in lines]
  numbered = all(len(part) == 2 and part[0] == str(label) for label, part in enumerate(parts))
  classes = tuple(part[1] for part in parts) if numbered else tuple(lines)
  check_classes(classes, str(path))
  return classes

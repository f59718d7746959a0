"""Cuts a missing validation or test split from the training split, by class and, where requested, by group."""

import functools
import hashlib

import numpy as np

from mils_jax.data.sources.source import SPLITS, Source
from mils_jax.errors import UserError
from mils_jax.progress import counted


class EverySplit(Source):
  """A source with the splits that `source` has, and the others cut from its training split.

  A split with a fraction of 0 is not cut, so that all images of a dataset can be tested.

  The choice of the images is a pure function of labels, groups and seed. Every class gives the same share, rounded, and
  keeps at least one image for training. Where the source groups its images, all images of a group are in one split, and
  the shares are as close as whole groups allow.
  """

  def __init__(self, source: Source, val_fraction: float, test_fraction: float, seed: int):
    if 'train' not in source.splits:
      raise UserError(f"the data has no training split, only {', '.join(source.splits) or 'nothing'}")
    self.source = source
    self._groups = {split: self._checked_groups(split) for split in source.splits}  # some sources read all files
    self.fractions = {name: fraction for name, fraction in (('val', val_fraction), ('test', test_fraction))
                      if fraction and name not in source.splits}
    self.splits = tuple(name for name in SPLITS if name in (*source.splits, *self.fractions))
    if sum(self.fractions.values()) >= 1:
      raise UserError(f'data.val_fraction + data.test_fraction = {sum(self.fractions.values())}: must be below 1')
    self.seed = seed
    self.classes, self.channels, self.units = source.classes, source.channels, source.units
    self.decodes, self.stated_channels = source.decodes, source.stated_channels
    self.notes = (*source.notes, *self._remark_on_cut(), *self._remark_on_shared_groups())

  def _checked_groups(self, split: str) -> np.ndarray | None:
    """The groups of a split of the source; raises UserError for an image without one."""
    groups = self.source.groups(split)
    if groups is not None and len(without := np.flatnonzero(np.isin(groups, ('', 'nan')))):
      raise UserError(f'data.group_by: {counted(len(without), "image has", "images have")} no group, first '
                      f'{self.source.place(split, int(without[0]))}; expected one for each')
    return groups

  def _remark_on_cut(self) -> list[str]:
    if not self.fractions:
      return []
    groups = self._groups['train']
    if groups is None:
      shares = ' and '.join(f'{fraction:.0%} for {name}' for name, fraction in self.fractions.items())
      return [f'splits: cut from training, by class: {shares}. Images of one scene or patient may be in several; '
              'data.group_by keeps them together']
    shares = ' and '.join(
        f'{counted(len(rows), "image")} of {counted(len(np.unique(groups[rows])), "group")} for {name}'
        for name, rows in self.rows.items() if name != 'train')
    all_groups = counted(len(np.unique(groups)), 'group')
    return [f'splits: cut from training, {len(groups)} images of {all_groups}: {shares}']

  def _remark_on_shared_groups(self) -> list[str]:
    """Notes groups of training images that also occur in a split of the source's own."""
    notes = []
    for split in self.source.splits:
      groups, own = self._groups['train'], self._groups[split]
      if split != 'train' and groups is not None and own is not None and len(both := np.intersect1d(groups, own)):
        shared = counted(len(both), 'group has', 'groups have')
        notes.append(f'splits: {shared} images in training and in {split}, such as {both[0]}: accuracy there tells '
                     'little about other groups')
    return notes

  @functools.cached_property
  def rows(self) -> dict[str, np.ndarray]:
    """For train and each cut split, the indices of its images in the source's training split, in ascending order."""
    labels, groups = self.source.labels('train'), self._groups['train']
    if groups is not None:
      return _cut_groups(labels, groups, self.fractions, self.seed)
    order = np.random.Generator(np.random.PCG64(self.seed)).permutation(len(labels))
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ('train', *self.fractions)}
    for label in range(len(self.classes)):
      mine = order[labels[order] == label]
      start = 0
      for name, fraction in self.fractions.items():
        stop = min(start + int(np.floor(fraction * len(mine) + 0.5)), max(len(mine) - 1, 0))
        rows[name].append(mine[start:stop])
        start = stop
      rows['train'].append(mine[start:])
    return {name: np.sort(np.concatenate(parts)) for name, parts in rows.items()}

  def _origin(self, split: str, index: int) -> tuple[str, int]:
    if self.fractions and split in self.rows:
      return 'train', int(self.rows[split][index])
    return split, index

  def length(self, split: str) -> int:
    if self.fractions and split in self.rows:
      return len(self.rows[split])
    return self.source.length(split)

  def labels(self, split: str) -> np.ndarray:
    if self.fractions and split in self.rows:
      return self.source.labels('train')[self.rows[split]]
    return self.source.labels(split)

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    return self.source.read(*self._origin(split, index))

  def remarks(self, split: str, index: int) -> tuple[str, ...]:
    return self.source.remarks(*self._origin(split, index))

  def example_id(self, split: str, index: int) -> str:
    return self.source.example_id(*self._origin(split, index))

  def place(self, split: str, index: int) -> str:
    return self.source.place(*self._origin(split, index))

  def settings(self) -> dict:
    if not self.fractions:
      return self.source.settings()
    settings = {**self.source.settings(), 'cut': self.fractions, 'cut_seed': self.seed}
    if self._groups['train'] is not None:
      rows = b'|'.join(rows.tobytes() for rows in self.rows.values())
      settings['cut_rows'] = hashlib.blake2b(rows, digest_size=12).hexdigest()
    return settings

  def inputs(self) -> list[tuple[str, int, int]]:
    return self.source.inputs()

  def missing(self) -> list[str]:
    return self.source.missing()

  def groups(self, split: str) -> np.ndarray | None:
    if self.fractions and split in self.rows:
      groups = self._groups['train']
      return None if groups is None else groups[self.rows[split]]
    return self._groups[split]


def _cut_groups(labels: np.ndarray, groups: np.ndarray, fractions: dict[str, float], seed: int
                ) -> dict[str, np.ndarray]:
  """The rows of training and of each cut split, without a group in two of them.

  In random order, each group goes to the split that it brings closest to its share of all classes, by squared errors.

  Raises:
    UserError: there are too few groups for at least one in each split and every class in training.
  """
  named, group = np.unique(groups, return_inverse=True)
  _, label = np.unique(labels, return_inverse=True)
  numbers = np.zeros((len(named), label.max() + 1), int)  # (groups, classes)
  np.add.at(numbers, (group, label), 1)
  shares = numbers / numbers.sum(0)
  wanted = np.array([1 - sum(fractions.values()), *fractions.values()])[:, None]
  have = np.zeros((len(wanted), shares.shape[1]))
  split_of = np.zeros(len(named), int)  # 0 is training
  order = np.random.Generator(np.random.PCG64(seed)).permutation(len(named))
  for one in order:
    split_of[one] = np.argmin((shares[one] * (2 * (have - wanted) + shares[one])).sum(1))
    have[split_of[one]] += shares[one]
  kept = numbers[split_of == 0].sum(0)
  for one in order:  # give training back any class that it lacks
    if split_of[one] and not kept[numbers[one] > 0].all():
      split_of[one] = 0
      kept += numbers[one]
  for split, name in enumerate(fractions, 1):
    if (split_of == split).any():
      continue
    only = ((numbers > 0) & (numbers == numbers[split_of == 0].sum(0))).any(1)  # groups with a class that no other has
    spare = np.flatnonzero(np.where(split_of == 0, ~only, np.bincount(split_of)[split_of] > 1))
    if not len(spare):
      raise UserError(f'data.group_by: {counted(len(named), "group is", "groups are")} too few to cut the {name} split '
                      f'from training and leave every class there; expected more groups, or a {name} split of its own')
    split_of[spare[np.argmin(shares[spare].sum(1))]] = split
  return {name: np.flatnonzero(split_of[group] == split) for split, name in enumerate(('train', *fractions))}

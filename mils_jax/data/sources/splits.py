"""Cuts a missing validation or test split from the training split, stratified by class."""

import functools

import numpy as np

from mils_jax.data.sources.source import SPLITS, Source
from mils_jax.errors import UserError


class EverySplit:
  """A source with all three splits: those that `source` has, the others cut from its training split.

  Which images are cut is a pure function of the labels and the seed. Every class gives the same share, rounded, and
  keeps at least one image for training.
  """

  splits = SPLITS

  def __init__(self, source: Source, val_fraction: float, test_fraction: float, seed: int):
    for name, fraction in (('val', val_fraction), ('test', test_fraction)):
      if not 0 < fraction < 1:
        raise UserError(f'data.{name}_fraction={fraction}: must lie between 0 and 1')
    if 'train' not in source.splits:
      raise UserError(f"the data has no training split, only {', '.join(source.splits) or 'nothing'}")
    self.source = source
    self.fractions = {name: fraction for name, fraction in (('val', val_fraction), ('test', test_fraction))
                      if name not in source.splits}
    if sum(self.fractions.values()) >= 1:
      raise UserError(f'data.val_fraction + data.test_fraction = {sum(self.fractions.values())}: must be below 1')
    self.seed = seed
    self.classes, self.channels, self.units = source.classes, source.channels, source.units
    self.decodes, self.files_say = source.decodes, source.files_say
    shares = ' and '.join(f'{fraction:.0%} for {name}' for name, fraction in self.fractions.items())
    self.notes = (*source.notes, *([f'splits: cut from training, by class: {shares}'] if shares else []))

  @functools.cached_property
  def rows(self) -> dict[str, np.ndarray]:
    """For train and each cut split, the positions of its images in the source's training split, in rising order."""
    labels = self.source.labels('train')
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
    return {**self.source.settings(), **({'cut': self.fractions, 'cut_seed': self.seed} if self.fractions else {})}

  def inputs(self) -> list[tuple[str, int, int]]:
    return self.source.inputs()

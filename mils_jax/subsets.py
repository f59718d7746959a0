"""Evaluates a trained model on channel subsets of the test split, and keeps the predictions in its run folder.

The run folder then holds:

    subsets.npz    example_id (N,), label (N,), channels (C,), present (S, C) bool, logits (S, N, classes) float32, the
                   step of the checkpoint that predicted them, and given (N, C) bool, which channels each image has, or
                   (0, C) where every image has all
    subsets.json   accuracy of each subset, mean and worst of each size, importance of each channel
    subsets.csv    a row for each subset
"""

import csv
import dataclasses
import itertools
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mils_jax.channel_subsets import Subset, check_subset, in_order, read_subsets, select_subsets, subset_name
from mils_jax.errors import RunError, UserError
from mils_jax.files import replaced
from mils_jax.metrics import Accuracy, PairedDifference, Scores
from mils_jax.metrics.predictions import Predictions
from mils_jax.progress import counted, log
from mils_jax.restore import open_run
from mils_jax.run_config import RunConfig, check_owner, saved_config
from mils_jax.schema import upgraded, upgraded_predictions, with_old_names
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.run_folder import RunFolder, write_json

UNREADABLE = (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile)  # errors of an incomplete .npz


@dataclasses.dataclass(frozen=True)
class SubsetReport:
  """The results of one model on subsets of its channels.

  Attributes:
    channels: all channels that the run used.
    step: step of the checkpoint.
    predictions: predictions of every test example, by subset, smaller ones first.
    given: (N, C) bool, which of the channels each example has; None: all.
  """

  channels: Subset
  step: int
  predictions: dict[Subset, Predictions]
  given: np.ndarray | None = None

  def having(self, subset: Subset) -> np.ndarray:
    """(N,) bool: which examples have at least one of these channels; the others cannot be classified."""
    if self.given is None:
      return np.ones(len(next(iter(self.predictions.values())).labels), bool)
    return _having(self.given, self.channels, subset)

  def seen(self, subset: Subset) -> Predictions:
    """The predictions of the examples that have at least one of these channels."""
    rows, all_ = self.having(subset), self.predictions[subset]
    return all_ if rows.all() else Predictions(all_.example_ids[rows], all_.labels[rows], all_.logits[rows])

  def accuracy(self, subset: Subset) -> Accuracy:
    """The test accuracy with these channels alone, over the examples that have any of them."""
    return self.seen(subset).accuracy

  @property
  def worst(self) -> Subset:
    """The subset with the lowest accuracy."""
    return min(self.predictions, key=lambda subset: self.accuracy(subset).rate)

  @property
  def mean(self) -> float:
    """Mean of the accuracies of all evaluated subsets."""
    return float(np.mean([self.accuracy(subset).rate for subset in self.predictions]))

  def sizes(self) -> dict[int, 'SubsetReport']:
    """By size, the report on the subsets of that size, smaller ones first."""
    return {size: self.only(subsets) for size, subsets in itertools.groupby(sorted(self.predictions, key=len), key=len)}

  def importance(self) -> dict[str, PairedDifference]:
    """By channel, the accuracy with all channels minus that without it (leave one out), where both were evaluated.

    It counts the examples that have the channel and another one; channels without such examples are left out.
    """
    without = {channel: tuple(name for name in self.channels if name != channel) for channel in self.channels}
    found = {}
    for channel, rest in without.items():
      if {rest, self.channels} <= self.predictions.keys():
        rows = self.having((channel,)) & self.having(rest)
        if not rows.any():
          continue
        found[channel] = PairedDifference.of(*(self.predictions[subset].correct[rows] for subset in
                                               (self.channels, rest)))
    return found

  def only(self, subsets: Iterable[Subset]) -> 'SubsetReport':
    """The report on some of the subsets, in the given order."""
    return dataclasses.replace(self, predictions={subset: self.predictions[subset] for subset in subsets})

  def to_json(self) -> dict:
    """The contents of subsets.json."""
    def row(subset: Subset) -> dict:
      return {'channels': list(subset), **self.accuracy(subset).to_json(),
              'balanced_accuracy': self.seen(subset).balanced_accuracy}

    return {
        'channels': list(self.channels),
        'subsets': [row(subset) for subset in self.predictions],
        'sizes': [{'size': size, 'number': len(one.predictions), 'mean': one.mean, 'worst': row(one.worst)}
                  for size, one in self.sizes().items()],
        'importance': [{'channel': channel, 'difference': difference.to_json()}
                       for channel, difference in self.importance().items()],
    }

  def save_predictions(self, path: Path, name: str = '') -> None:
    """Writes an .npz as described above; `name` is given for another model than the run's own."""
    first = next(iter(self.predictions.values()))
    with replaced(path) as unfinished, unfinished.open('wb') as file:
      np.savez(file, step=self.step, example_id=first.example_ids, label=first.labels, channels=np.array(self.channels),
               present=np.array([[channel in subset for channel in self.channels] for subset in self.predictions]),
               logits=np.stack([one.logits for one in self.predictions.values()]), name=np.array(name),
               given=np.zeros((0, len(self.channels)), bool) if self.given is None else self.given)

  def save(self, folder: RunFolder) -> None:
    """Writes subsets.npz, subsets.json and subsets.csv."""
    self.save_predictions(folder.subset_predictions)
    with replaced(folder.subsets_table) as unfinished, unfinished.open('w', newline='', encoding='utf-8') as file:
      table = csv.writer(file)
      table.writerow(['size', 'channels', 'correct', 'count', 'accuracy', 'low_95', 'high_95', 'balanced_accuracy'])
      for subset in self.predictions:
        predictions = self.seen(subset)
        accuracy = predictions.accuracy
        table.writerow([len(subset), ' '.join(subset), accuracy.correct, accuracy.count,
                        *(f'{value:.4f}' for value in (accuracy.rate, *accuracy.interval(),
                                                       predictions.balanced_accuracy))])
    write_json(folder.subsets, self.to_json())

  @classmethod
  def load(cls, path: Path) -> 'SubsetReport':
    """Reads a subsets.npz; raises one of `UNREADABLE` where it is incomplete or of an older version."""
    with np.load(path, allow_pickle=False) as file:
      saved = dict(file)
    ids, labels, logits = saved['example_id'], saved['label'], saved['logits']
    return cls(tuple(saved['channels'].tolist()), int(saved['step']),
               {subset: Predictions(ids, labels, own) for subset, own in zip(_subsets(saved), logits, strict=True)},
               saved['given'] if len(saved['given']) else None)


def evaluate_subsets(folder: RunFolder, subsets: Iterable[Subset] | None = None,
                     config: RunConfig | None = None) -> SubsetReport:
  """Evaluates a run's best checkpoint on channel subsets; predicts and keeps those that its folder does not hold yet.

  Args:
    folder: the run folder.
    subsets: subsets of the channels that the run used; None: those that its configuration selects.
    config: the run's own, or one that differs in where the data lies or in which subsets are selected.

  Raises:
    UserError: a subset names no channel, or one that the run did not use; or as `open_run` does.
  """
  saved = saved_config(folder)
  config = config or saved
  check_owner(folder, config, free=('data',))
  held = _held(folder)
  if held is not None and config.data == saved.data:
    subsets = _checked(subsets, held.channels, config)
    if set(subsets) <= held.predictions.keys():
      log(f'{counted(len(subsets), "subset")} of {", ".join(held.channels)}: all are in {folder.subset_predictions}')
      return held.only(subsets)
  run = open_run(folder, config)
  channels = run.fitting.channels
  subsets = _checked(subsets, channels, config)
  known = held.predictions if held else {}
  given = None
  if run.data.splits['test'].present is not None:
    given = np.asarray(run.data.splits['test'].present)[:, [run.data.channels.index(channel) for channel in channels]]
    without = [subset for subset in subsets if not _having(given, channels, subset).any()]
    subsets = [subset for subset in subsets if subset not in without]
    what = f'no test image has any of the channels of {"; ".join(map(subset_name, without))}'
    if not subsets:
      there = [name for place, name in enumerate(channels) if given[:, place].any()]
      raise UserError(f'{what}. Valid: {", ".join(there)}')
    if without:
      log(what)
  new = [subset for subset in subsets if subset not in known]
  test, evaluator, batches = run.data.splits['test'], run.evaluator(), run.batches('test')
  log(f'{len(test.labels)} test images, {counted(len(new), "subset")} of {", ".join(channels)}')
  found = dict(known)
  for number, subset in enumerate(new, 1):
    keep = np.array([channel in subset for channel in run.restored.spec.channels.names])
    found[subset] = evaluator(run.variables, test, batches, f'subset {number} of {len(new)}', keep)
  ordered = {subset: found[subset] for subset in in_order(found, channels)}
  report = SubsetReport(channels, run.restored.step, ordered, given)
  report.save(folder)
  return report.only(subsets)


def _having(given: np.ndarray, channels: Sequence[str], subset: Subset) -> np.ndarray:
  """(N,) bool: which examples have at least one channel of a subset, by their channels `given` (N, C)."""
  return np.asarray(given[:, [channel in subset for channel in channels]].any(axis=1))


def _checked(subsets: Iterable[Subset] | None, channels: Subset, config: RunConfig) -> list[Subset]:
  if subsets is None:
    return select_subsets(channels, config.evaluation, read_subsets(config.channel_dropout.subsets, channels))
  subsets = list(subsets)
  for subset in subsets:
    check_subset(subset, channels)
  return subsets


def _held(folder: RunFolder) -> SubsetReport | None:
  """The folder's report on its best checkpoint; None where there is none, or it is damaged or of an older version."""
  try:
    held = SubsetReport.load(folder.subset_predictions)
  except UNREADABLE:
    return None
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    return held if held.step == checkpoints.best_step else None  # while training, a run may find a better one


def read_subset_correct(folder: RunFolder, test: Predictions) -> dict[Subset, np.ndarray]:
  """By subset, (N,) bool: which predictions of the run were correct; {} where none were kept.

  Args:
    folder: the run folder, of any version.
    test: its predictions of the test split, whose order the result has.

  Raises:
    RunError: a file is damaged or holds predictions of other images.
  """
  found = {}
  for path in with_old_names(folder.subset_predictions):
    if path.exists():
      found = _correct(path, test)[1] | found
  return found


def read_baselines(folder: RunFolder, test: Predictions) -> dict[str, dict[Subset, np.ndarray]]:
  """What other methods predicted correctly on the same images and subsets, by their names (`baseline-*.npz`).

  Arguments and errors are those of `read_subset_correct`.
  """
  return dict(_correct(path, test) for path in sorted(folder.path.glob('baseline-*.npz')))


def _correct(path: Path, test: Predictions) -> tuple[str, dict[Subset, np.ndarray]]:
  """Whose predictions a file holds ('': the run's own), and which are correct, in the order of `test`."""
  try:
    with np.load(path, allow_pickle=False) as file:
      saved = upgraded_predictions(file)
    labels, ids = saved['label'], saved['example_id']
    order = np.lexsort((labels, ids))
    same = np.array_equal(ids[order], test.example_ids)
    predicted = ([Scores(labels, logits).predicted for logits in saved['logits']] if 'logits' in saved
                 else saved['predicted'])  # (S, N)
    own = {subset: (one == labels)[order] for subset, one in zip(_subsets(saved), predicted, strict=True)}
    if 'given' in saved and len(saved['given']):  # only subsets of which every image has a channel
      channels, given = saved['channels'].tolist(), saved['given']
      own = {subset: one for subset, one in own.items() if _having(given, channels, subset).all()}
    name = str(saved['name']) if 'name' in saved else ''
  except UNREADABLE as error:
    raise RunError(f'damaged: {path.name} cannot be read') from error
  if not same:
    raise RunError(f'{path.name} is of other images than predictions.npz')
  return name, own


def read_subset_summary(folder: RunFolder) -> dict | None:
  """The contents of subsets.json, of any version; None where there is none."""
  if not folder.subsets.exists():
    return None
  values = json.loads(folder.subsets.read_text(encoding='utf-8'))
  return upgraded('subsets', values) if isinstance(values, dict) else values


def _subsets(saved: dict[str, Any]) -> list[Subset]:
  """The subsets of the arrays of an .npz."""
  if 'subsets' in saved:
    return saved['subsets']
  return [tuple(saved['channels'][present].tolist()) for present in saved['present']]

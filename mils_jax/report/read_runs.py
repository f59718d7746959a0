"""Reads finished runs for the report, and finds what is wrong with the others."""

import dataclasses
import glob
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mils_jax import invocation
from mils_jax.errors import RunError, UserError, one_line
from mils_jax.metrics import Accuracy
from mils_jax.metrics.alignment import aligned
from mils_jax.metrics.predictions import Predictions
from mils_jax.progress import counted
from mils_jax.run_config import saved_config
from mils_jax.subsets import UNREADABLE, read_baselines, read_subset_correct, read_subset_summary
from mils_jax.sweeps.sweep import SweepRecord, read_record
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.run_folder import RunFolder

ROUNDING = 0.01  # share of the predicted classes that may change where predictions were recomputed on other hardware

NEEDED = {  # keys that the report reads from each file
    'results': ('best_epoch', 'channels', 'data_fingerprint', 'epochs', 'flops', 'image_shape', 'macs', 'parameters',
                'input_channels', 'test'),
    'metrics': ('epoch', 'train_accuracy', 'train_loss', 'val_accuracy', 'val_loss'),
    'run': ('command', 'devices', 'platform', 'python', 'versions'),
    'subsets': ('subsets',),
    'diagnostics': ('subsets',),
}


@dataclasses.dataclass(frozen=True)
class Run:
  """A finished run.

  Attributes:
    folder: the run folder.
    config, results: contents of its files.
    classes: names of the data's classes.
    test: its predictions of the test split, or of the one that `split` names.
    metrics: one entry per epoch.
    machine: command, versions and hardware; {} where they were not recorded.
    subsets: contents of subsets.json; None where no subsets were evaluated.
    diagnostics: contents of diagnostics.json; None where the run was not diagnosed.
    subset_correct: by subset, (N,) bool in the order of `test`: correct predictions with these channels alone.
    baselines: by the name of another method, its correct predictions in the same form.
    split: split of the predictions.
    origin: how a compressed run was made, such as 'merged from 4 kernels'; '' for one that was trained.
    sweep: the sweep that it belongs to; None for others.
  """

  folder: RunFolder
  config: dict
  results: dict
  classes: tuple[str, ...]
  test: Predictions
  metrics: list[dict]
  machine: dict
  subsets: dict | None = None
  diagnostics: dict | None = None
  subset_correct: dict[tuple[str, ...], np.ndarray] = dataclasses.field(default_factory=dict)
  baselines: dict[str, dict[tuple[str, ...], np.ndarray]] = dataclasses.field(default_factory=dict)
  split: str = 'test'
  origin: str = ''
  sweep: SweepRecord | None = None

  @property
  def name(self) -> str:
    """Path of the run folder."""
    return str(self.folder.path)

  @property
  def name_in_sweep(self) -> str:
    """Its name in its sweep; '' outside of sweeps."""
    return self.sweep.runs[self.folder.path.name] if self.sweep else ''

  @property
  def channels(self) -> tuple[str, ...]:
    """The channels of the data that it used, in the data's order, by the names in the subsets."""
    return tuple(self.results['channels'])

  @property
  def subset_accuracy(self) -> dict[tuple[str, ...], Accuracy]:
    """The accuracy on each subset that was evaluated."""
    if self.subsets:
      return {tuple(one['channels']): Accuracy(one['correct'], one['count']) for one in self.subsets['subsets']}
    return {subset: Accuracy.of(correct) for subset, correct in self.subset_correct.items()}

  @property
  def sees_all(self) -> bool:
    """Whether no input channel of the network was missing."""
    return set(self.results['input_channels']) == set(self.channels)


@dataclasses.dataclass(frozen=True)
class NotReported:
  """Something that matched the pattern but is not in the report."""

  name: str
  reason: str


class _UnusableError(Exception):
  """A run that cannot be read; the message gives the reason."""


def collect(*patterns: str) -> tuple[list[Run], list[NotReported]]:
  """The runs that match patterns of folders, or lie in matching folders, in the order of their names.

  Raises:
    UserError: no run matches, none is finished, a finished one has no predictions, or they differ in their task.
  """
  folders, others = _find(patterns)
  given = ' '.join(patterns)
  runs = []
  for folder in folders:
    try:
      runs.append(read_run(folder))
    except _UnusableError as error:
      others.append(NotReported(str(folder.path), str(error)))
  if not folders:
    raise UserError(f"no run matches --runs '{given}'. Expected a pattern of run folders, such as 'runs/*'")
  if not runs:
    raise UserError(f"--runs '{given}': no run is finished. {others[0].name}: {others[0].reason}")
  runs, damaged = _with_subsets(_of_one_task(runs))
  return runs, others + damaged


def read_run(folder: RunFolder) -> Run:
  """Reads one run; raises UserError where it is finished but has no predictions."""
  try:
    config, results, metrics = _config(folder), folder.read_results(), folder.read_metrics()
    if results is None:
      planned = config['train']['epochs']  # 0 where the length is set in steps
      done = f'{len(metrics)} of {counted(planned, "epoch")}' if planned else counted(len(metrics), 'epoch')
      raise _UnusableError(f'not finished: {done}')
    _check('results', results)
    for line in metrics:
      _check('metrics', line)
    if not folder.predictions.exists():
      raise UserError(f'{folder.path} has no predictions.npz. Make it: '
                      + invocation.command('evaluate', workdir=folder.path))
    test = _load_predictions(folder)
    written, count = results['test']['correct'], results['test']['count']
    if len(test.labels) != count or abs(test.accuracy.correct - written) > ROUNDING * count:
      raise _UnusableError('damaged: predictions.npz and results.json disagree')
    machine, diagnostics, compression = map(_optional, (folder.run, folder.diagnostics, folder.compression))
    subsets, sweep = read_subset_summary(folder), read_record(folder.path.parent)
    for name, values in (('run', machine), ('subsets', subsets), ('diagnostics', diagnostics)):
      if values is not None:
        _check(name, values)
    return Run(folder, config, results, _classes(folder, results), test, metrics, machine or {}, subsets, diagnostics,
               origin=_origin(compression), sweep=sweep if sweep and folder.path.name in sweep.runs else None)
  except (RunError, OSError, ValueError, KeyError, TypeError) as error:
    raise _UnusableError(f'damaged: {one_line(error)}') from error


def _config(folder: RunFolder) -> dict:
  try:
    return saved_config(folder).values()
  except UserError as error:  # for example, a version newer than this program
    raise _UnusableError(f'config.json cannot be read: {error}') from error


def _check(name: str, values: dict) -> None:
  missing = [key for key in NEEDED[name] if key not in values] if isinstance(values, dict) else NEEDED[name]
  if missing:
    raise _UnusableError(f'damaged: not in its {name}: {", ".join(missing)}')


def _load_predictions(folder: RunFolder) -> Predictions:
  try:
    return Predictions.load(folder.predictions)
  except UNREADABLE as error:
    raise _UnusableError('damaged: predictions.npz cannot be read') from error


def _find(patterns: Sequence[str]) -> tuple[list[RunFolder], list[NotReported]]:
  """The run folders, including those inside matched folders, and the matches that are no run folder and hold none."""
  folders, others = [], []
  matches = {Path(match) for pattern in patterns
             for match in ([pattern] if Path(pattern).exists() else glob.glob(pattern))}
  for match in sorted(filter(Path.is_dir, matches)):
    found = [match] if _holds_run(match) else [path for path in sorted(match.iterdir()) if _holds_run(path)]
    for folder in map(RunFolder, found):
      if folder.config.exists():
        folders.append(folder)
      else:
        others.append(NotReported(str(folder.path), 'damaged: it has no config.json'))
    if not found:
      why = 'an export of a run' if RunFolder(match).is_export else 'it has no config.json'
      others.append(NotReported(str(match), f'no run folder: {why}'))
  return folders, others


def _holds_run(path: Path) -> bool:
  """Whether this is a run folder, or the remains of one."""
  folder = RunFolder(path)
  return not folder.is_export and any(
      file.exists() for file in (folder.config, folder.results, folder.metrics, folder.checkpoints))


def _classes(folder: RunFolder, results: dict) -> tuple[str, ...]:
  if 'classes' in results:
    return tuple(results['classes'])
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:  # an older run, whose results do not name them
    return checkpoints.restore_spec().classes


def _origin(compression: dict | None) -> str:
  if compression is None:
    return ''
  made = compression['made_from']
  return f'{made["method"]} from {made["of"]} kernels'


def _optional(path: Path) -> dict | None:
  return json.loads(path.read_text(encoding='utf-8')) if path.exists() else None


def _of_one_task(runs: list[Run]) -> list[Run]:
  """The runs with their predictions in one order of the test images; refuses runs that cannot be compared."""
  first = runs[0]
  for run in runs:
    if run.classes != first.classes:
      different = sorted(set(run.classes) ^ set(first.classes))
      shown = ', '.join(different[:6]) + (f' and {len(different) - 6} more' if len(different) > 6 else '')
      raise UserError(f'{first.name} and {run.name} have different classes ({shown or "in another order"}): runs of '
                      'different tasks cannot be compared. Give --runs that match one task')
  tests = aligned({run.name: run.test for run in runs})
  return [dataclasses.replace(run, test=tests[run.name]) for run in runs]


def _with_subsets(runs: list[Run]) -> tuple[list[Run], list[NotReported]]:
  """The runs with their correct predictions on subsets, and the files of these that cannot be used."""
  found, damaged = [], []
  for run in runs:
    for field, read in (('subset_correct', read_subset_correct), ('baselines', read_baselines)):
      try:
        run = dataclasses.replace(run, **{field: read(run.folder, run.test)})
      except RunError as error:
        file = run.folder.subset_predictions if field == 'subset_correct' else run.folder.path
        damaged.append(NotReported(str(file), str(error)))
    found.append(run)
  return found, damaged

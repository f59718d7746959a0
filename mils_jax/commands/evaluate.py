"""Evaluates the best checkpoint of a finished or stopped run on any split of its own or another dataset."""

import contextlib
import dataclasses
from pathlib import Path

from mils_jax import invocation
from mils_jax.commands import Request
from mils_jax.data.cache.building import fingerprint
from mils_jax.data.sources import open_configured
from mils_jax.data.sources.source import ALL, SPLITS
from mils_jax.errors import UserError, unknown
from mils_jax.files import UNWRITABLE, make_writable
from mils_jax.metrics.predictions import Predictions
from mils_jax.progress import log, log_lines
from mils_jax.report.text import channels_text, grouped
from mils_jax.restore import OpenRun, open_run
from mils_jax.run import model_size
from mils_jax.run_config import RunConfig, saved_config
from mils_jax.training.run_folder import RunFolder, write_json

RESULTS = 'evaluation.json'


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The results of a run's best checkpoint on one split.

  Attributes:
    run: the run folder.
    path: folder for the results, evaluation.json and predictions.npz.
    split: train, val, test or all.
    config: the run's configuration, with the data that it was tested on.
    results: results in the form of results.json, with those of this split under the name 'scores'.
    predictions: predictions of every example.
    lost: whether the finished run has lost its own copy of these predictions, which saving restores.
  """

  run: RunFolder
  path: Path
  split: str
  config: RunConfig
  results: dict
  predictions: Predictions
  lost: bool

  def save(self) -> None:
    """Writes results and predictions; raises OSError where it cannot."""
    self.path.mkdir(parents=True, exist_ok=True)
    self.predictions.save(self.path / 'predictions.npz')
    write_json(self.path / RESULTS, self.results)
    if self.lost:
      self.predictions.save(self.run.predictions)


def run_evaluation(config: RunConfig, folder: RunFolder, split: str = 'test', output: str = '') -> Evaluation:
  """Restores the best checkpoint by `train.best_by` and tests it; saves nothing yet.

  Args:
    config: the run's own, or one that differs in its data, which must have the same classes and share its channels.
    folder: the run folder.
    split: train, val, test or, for another dataset than the run's own, all.
    output: folder for the results; '': evaluation/SPLIT in the run folder, or, for another dataset, a folder with its
      fingerprint in the name.

  Raises:
    UserError: there is no such split, or 'all' is requested for the run's own data; the folder belongs to another run,
      there is no checkpoint yet, the data has a class that the model lacks, or none of its channels, or `output` cannot
      be written or is already something else.
  """
  if split not in (*SPLITS, ALL):
    raise unknown('--split', split, (*SPLITS, ALL))
  if split == ALL:
    config = _uncut(config, folder)
  run = open_run(folder, config, only_own=False)
  own = run.fitting.own
  if own and split == ALL:
    raise _own_data()
  if split == ALL:
    log('all splits are tested: images that the run was trained on, in a copy of its own data, would count too')
  elif split not in run.data.splits:
    raise unknown('--split', split, (*run.data.splits, ALL))
  if output:
    _claim(Path(output))
  evaluator = run.evaluator()
  predictions = Predictions.of_all([evaluator(run.variables, run.data.splits[name], run.batches(name), name)
                                    for name in (run.data.splits if split == ALL else (split,))])
  name = split if own else f'{split}-{run.data.fingerprint[:8]}'
  lost = own and split == 'test' and folder.results.exists() and not folder.predictions.exists()
  return Evaluation(folder, Path(output) if output else folder.path / 'evaluation' / name, split, config,
                    _results(run, split, predictions), predictions, lost and not output)


def _uncut(config: RunConfig, folder: RunFolder) -> RunConfig:
  """The configuration with data that no split is cut from; raises UserError for the run's own data, however cut."""
  data = dataclasses.replace(config.data, val_fraction=0.0, test_fraction=0.0, group_by='')
  if set(SPLITS) - set(open_configured(data).splits):  # else its content tells whether it is the run's own
    own = saved_config(folder).data
    cut = {name: getattr(own, name) for name in ('seed', 'val_fraction', 'test_fraction', 'group_by')}
    as_own = dataclasses.replace(config.data, **cut)
    mark = ''
    with contextlib.suppress(UserError):  # what cannot be cut like the run's own data is other data
      mark = fingerprint(open_configured(as_own), as_own.skip_damaged)
    if as_own == own or mark == (folder.read_results() or {}).get('data_fingerprint'):
      raise _own_data()
  return dataclasses.replace(config, data=data)


def _own_data() -> UserError:
  return UserError(f'--split {ALL}: the run was trained on most of this dataset. Valid for its own data: '
                   + ', '.join(SPLITS))


def _claim(target: Path) -> None:
  """Creates the folder; raises UserError where it cannot be written or is something else."""
  make_writable(target, target)
  if any(target.iterdir()) and not (target / RESULTS).exists():
    raise UserError(f'--output {target} holds something other than an evaluation: give a new or an empty folder')


def _results(run: OpenRun, split: str, predictions: Predictions) -> dict:
  spec, data, config = run.restored.spec, run.data, run.config
  return {
      'name': config.name, 'model': config.model.name, 'split': split, 'step': run.restored.step,
      'channels': list(run.fitting.channels), 'input_channels': list(spec.channels.names),
      'classes': list(data.classes), 'scores': predictions.scores.to_json(), 'image_shape': list(data.image_shape),
      **model_size(run.restored.model, spec.image_size), 'data_fingerprint': data.fingerprint,
  }


def run(request: Request) -> None:
  """Evaluates a run on a split, prints the scores, and keeps them with a page beside them."""
  evaluation = run_evaluation(request.config, request.folder, request.flags['split'], request.flags['output'])
  log_lines(score_lines(evaluation))  # printed first, in case writing fails
  log(_saved(evaluation))
  if len(evaluation.results['channels']) > 1:
    log_lines(invocation.next_lines('what each missing channel costs it', 'subsets', workdir=evaluation.run.path))


def score_lines(evaluation: Evaluation) -> list[str]:
  """The description of the model and all its scores."""
  results, scores = evaluation.results, evaluation.predictions.scores
  return [
      '', f'{results["name"]}: {results["model"]}, step {results["step"]}, channels {channels_text(results)}',
      f'  {evaluation.split + " accuracy":<15} {scores.accuracy}',
      f'  balanced        {scores.balanced_accuracy:.2%} (mean of the accuracies of the classes)',
      f'  macro F1        {scores.macro_f1:.2%}; top 5: {scores.top(5).rate:.2%}',
      f'  NLL             {scores.loss:.3f} nats; Brier score {scores.brier:.3f}',
      f'  ECE             {100 * scores.calibration.error:.1f} points',
      f'  parameters      {grouped(results["parameters"])}; MACs {grouped(results["macs"])}',
  ]


def _saved(evaluation: Evaluation) -> str:
  """Saves the evaluation with its page; returns a line with the path, or with the reason of a failure."""
  from mils_jax.report.write import write_evaluation  # here, since the drawing library takes a while to load

  try:
    evaluation.save()
    page = write_evaluation(evaluation.run, evaluation.config.values(), evaluation.results, evaluation.split,
                            evaluation.predictions, evaluation.path)
  except OSError as error:
    if error.errno not in UNWRITABLE:
      raise
    return (f'nothing was saved: {evaluation.path} cannot be written ({error.strerror}). The same command with '
            '--output FOLDER saves elsewhere')
  return f'  figures in      {page}'

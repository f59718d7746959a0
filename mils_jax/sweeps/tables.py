"""The kinds of table that can end a sweep: what each needs of the runs before training, and of their folders after it.

The tables themselves are sections of the report, which reads the run folders.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import cast

from mils_jax.channel_subsets import Subset
from mils_jax.errors import RunError, UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.subsets import UNREADABLE, evaluate_subsets
from mils_jax.sweeps.sweep import Sweep, SweepRun


@dataclasses.dataclass(frozen=True)
class TableKind:
  """A kind of table.

  Attributes:
    check: raises UserError, before anything is trained, where the runs cannot make one.
    subsets: from all finished runs, those that have to be evaluated on channel subsets, each with its subsets (None:
      those that its configuration selects).
  """

  check: Callable[[Sweep], None]
  subsets: Callable[[list[SweepRun]], Iterable[tuple[SweepRun, list[Subset] | None]]]


def is_generalist(run: SweepRun) -> bool:
  """Whether it trains with channel dropout, so that one model serves all subsets."""
  return run.config.channel_dropout.method != 'none'


def finished(sweep: Sweep) -> list[SweepRun]:
  """The runs that were trained and tested."""
  return [run for run in sweep.runs if run.folder.read_results() is not None]


def prepare_table(sweep: Sweep) -> None:
  """Makes sure that the folders of all finished runs hold what the sweep's table needs.

  Raises:
    RunError: the predictions of a finished run cannot be read.
  """
  done = finished(sweep)
  for run in done:
    try:
      Predictions.load(run.folder.predictions)
    except UNREADABLE as error:
      raise RunError(f'{run.folder.predictions} cannot be read: {error}. Delete {run.folder.results} and run the '
                     'sweep again: it tests that run again') from error
  for run, subsets in TABLES[sweep.table].subsets(done):
    evaluate_subsets(run.folder, subsets)


def _check_specialists(sweep: Sweep) -> None:
  """Raises UserError where there are not at least one specialist and one generalist to compare."""
  kinds = {is_generalist(run) for run in sweep.runs}
  if kinds != {True, False}:
    missing = ('generalist (channel_dropout.method)' if True not in kinds
               else 'specialist (channel_dropout.method=none)')
    raise UserError(f'the table of specialists needs a {missing} among the runs')


def _check_ablation(sweep: Sweep) -> None:
  """Raises UserError where the runs do not use the same channels, so that their subsets differ."""
  used = {run.config.channels.use for run in sweep.runs}
  if len(used) > 1:
    raise UserError(f'the runs of an ablation need the same channels.use; here are {", ".join(map(repr, used))}')


def _of_specialists(done: list[SweepRun]) -> list[tuple[SweepRun, list[Subset]]]:
  """Every generalist, with the channels of the specialists as subsets."""
  subsets = [tuple(cast(dict, run.folder.read_results())['channels'])
             for run in done if not is_generalist(run)]
  return [(run, list(dict.fromkeys(subsets))) for run in done if is_generalist(run) and subsets]


TABLES = {
    'specialists': TableKind(_check_specialists, _of_specialists),
    'ablation': TableKind(_check_ablation, lambda done: [(run, None) for run in done]),
    'models': TableKind(lambda sweep: None, lambda done: []),
}

"""The kinds of table that can end a sweep: what each asks of the runs before training, and of their folders after it.

The tables themselves are sections of the report, which reads the run folders.
"""

import dataclasses
import zipfile
from collections.abc import Callable, Iterable
from typing import cast

from mils_jax.channel_subsets import Subset
from mils_jax.errors import RunError, UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.subsets import evaluate_subsets
from mils_jax.sweeps.sweep import Member, Sweep


@dataclasses.dataclass(frozen=True)
class TableKind:
  """A kind of table.

  Attributes:
    check: raises UserError, before anything is trained, where the runs cannot make one.
    subsets: of all finished runs, those that have to be evaluated on channel subsets, each with its subsets (None: the
      ones that its configuration selects).
  """

  check: Callable[[Sweep], None]
  subsets: Callable[[list[Member]], Iterable[tuple[Member, list[Subset] | None]]]


def is_generalist(member: Member) -> bool:
  """Whether channels are dropped in its training, so that one model serves all subsets."""
  return member.config.channel_dropout.method != 'none'


def finished(sweep: Sweep) -> list[Member]:
  """The runs that were trained and tested."""
  return [member for member in sweep.members if member.folder.read_results() is not None]


def prepare_table(sweep: Sweep) -> None:
  """Sees to it that the folders of all finished runs hold what the sweep's table needs.

  Raises:
    RunError: the predictions of a finished run cannot be read.
  """
  done = finished(sweep)
  for member in done:
    try:
      Predictions.load(member.folder.predictions)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
      raise RunError(f'{member.folder.predictions} cannot be read: {error}. Delete {member.folder.results} and run the '
                     'sweep again: it tests that run again') from error
  for member, subsets in TABLES[sweep.table].subsets(done):
    evaluate_subsets(member.folder, subsets)


def _check_specialists(sweep: Sweep) -> None:
  """Raises UserError where there is nobody to compare."""
  kinds = {is_generalist(member) for member in sweep.members}
  if kinds != {True, False}:
    missing = ('generalist (channel_dropout.method)' if True not in kinds
               else 'specialist (channel_dropout.method=none)')
    raise UserError(f'the table of specialists needs a {missing} among the runs')


def _check_ablation(sweep: Sweep) -> None:
  """Raises UserError where the runs are not of the same channels, so that their subsets differ."""
  used = {member.config.channels.use for member in sweep.members}
  if len(used) > 1:
    raise UserError(f'the runs of an ablation need the same channels.use; here are {", ".join(map(repr, used))}')


def _of_specialists(done: list[Member]) -> list[tuple[Member, list[Subset]]]:
  """Every generalist on the channels of the specialists."""
  subsets = [tuple(cast(dict, member.folder.read_results())['channels'])
             for member in done if not is_generalist(member)]
  return [(member, list(dict.fromkeys(subsets))) for member in done if is_generalist(member) and subsets]


TABLES = {
    'specialists': TableKind(_check_specialists, _of_specialists),
    'ablation': TableKind(_check_ablation, lambda done: [(member, None) for member in done]),
    'models': TableKind(lambda sweep: None, lambda done: []),
}

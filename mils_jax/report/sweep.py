"""A sweep as a person reads it: what it would take, and the table that ends it."""

import dataclasses
from collections.abc import Callable

from mils_jax.report.sweep_tables import ablation_lines, model_lines, specialist_lines
from mils_jax.report.text import markdown_table
from mils_jax.sweeps.comparison import (
    check_ablation,
    check_specialists,
    compare_ablation,
    compare_models,
    compare_specialists,
    finished,
)
from mils_jax.sweeps.estimate import STEPS, Estimate
from mils_jax.sweeps.sweep import Sweep


@dataclasses.dataclass(frozen=True)
class Table:
  """A kind of table that a sweep can end with.

  Attributes:
    check: raises UserError, before anything is trained, where the members cannot make one.
    lines: of the table, from the finished members.
  """

  check: Callable[[Sweep], None]
  lines: Callable[[Sweep], list[str]]


TABLES = {
    'specialists': Table(check_specialists, lambda sweep: specialist_lines(compare_specialists(sweep))),
    'ablation': Table(check_ablation, lambda sweep: ablation_lines(compare_ablation(sweep))),
    'models': Table(lambda sweep: None, lambda sweep: model_lines(compare_models(sweep))),
}


def duration(seconds: float) -> str:
  """'45 s', '12 min' or '3 h 05 min'."""
  if seconds < 100:
    return f'{seconds:.0f} s'
  minutes = round(seconds / 60)
  return f'{minutes} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60:02} min'


def estimate_lines(sweep: Sweep, estimates: list[Estimate]) -> list[str]:
  """What would be trained and for how long, member by member, and in all."""
  rows = []
  for entry in estimates:
    step = f'{1000 * entry.time.step:.0f} ms' if entry.time else ''
    rows.append([entry.member.title, entry.state, str(entry.steps - entry.done), step, duration(entry.seconds)])
  kinds = {id(entry.time): entry.time for entry in estimates if entry.time}
  compiling = sum(time.compiling for time in kinds.values())
  return [
      f'{sweep.name}, in {sweep.path}', '',
      *markdown_table(['member', 'state', 'steps left', 'a step', 'time'], rows), '',
      f'in all {duration(sum(entry.seconds for entry in estimates))}, and {duration(compiling)} to compile',
      f'A step is the median of {STEPS}, here and now, without compiling. Validation, tests, checkpoints and the '
      'table come on top. Nothing was trained.',
  ]


def write_table(sweep: Sweep) -> list[str]:
  """Makes the table of the finished members, writes it to sweep.md, and returns its lines.

  Raises:
    UserError: members were tested on different images.
    RunError: a member's predictions cannot be read.
  """
  done = finished(sweep)
  titles = {member.title for members in done.values() for member in members}
  missing = [member.title for member in sweep.members if member.title not in titles]
  lines = TABLES[sweep.table].lines(sweep) if done else []
  lines += ['', f'not finished: {", ".join(missing)}'] if missing else []
  path = sweep.path / 'sweep.md'
  path.write_text('\n'.join([f'# {sweep.name}', '', *lines, '']))
  return [*lines, '', f'saved as {path}']

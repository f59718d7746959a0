"""A study as a person reads it: what it would take, and what its members came to."""

from mils_jax.evaluation.statistics import Accuracy
from mils_jax.reports.text import grouped
from mils_jax.studies.estimate import STEPS, Estimate
from mils_jax.studies.study import Study


def markdown_table(titles: list[str], rows: list[list[str]]) -> list[str]:
  """A table that reads well as plain text too: the first column to the left, the others to the right."""
  widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
  lines = ['| ' + ' | '.join(text.ljust(width) if column == 0 else text.rjust(width)
                             for column, (text, width) in enumerate(zip(row, widths, strict=True))) + ' |'
           for row in (titles, *rows)]
  rule = ['-' * (widths[0] + 2), *('-' * (width + 1) + ':' for width in widths[1:])]
  return [lines[0], f'|{"|".join(rule)}|', *lines[1:]]


def duration(seconds: float) -> str:
  """'45 s', '12 min' or '3 h 05 min'."""
  if seconds < 100:
    return f'{seconds:.0f} s'
  minutes = round(seconds / 60)
  return f'{minutes} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60:02} min'


def estimate_lines(study: Study, estimates: list[Estimate]) -> list[str]:
  """What would be trained and for how long, member by member, and in all."""
  rows = []
  for entry in estimates:
    step = f'{1000 * entry.time.step:.0f} ms' if entry.time else ''
    rows.append([entry.member.title, entry.state, str(entry.steps - entry.done), step, duration(entry.seconds)])
  kinds = {id(entry.time): entry.time for entry in estimates if entry.time}
  compiling = sum(time.compiling for time in kinds.values())
  return [
      f'{study.name}, in {study.path}', '',
      *markdown_table(['member', 'state', 'steps left', 'a step', 'time'], rows), '',
      f'in all {duration(sum(entry.seconds for entry in estimates))}, and {duration(compiling)} to compile',
          f'A step is the median of {STEPS}, here and now, without compiling. Validation, tests, checkpoints and the '
      'table come on top. Nothing was trained.',
  ]


def member_lines(study: Study) -> list[str]:
  """What every member that is finished came to, and which are not."""
  rows, unfinished = [], []
  for member in study.members:
    results = member.folder.read_results()
    if results is None:
      unfinished.append(member.title)
      continue
    accuracy = Accuracy(results['test']['correct'], results['test']['count'])
    rows.append([member.title, f'{accuracy.rate:.2%}', f'{results["test"]["balanced_accuracy"]:.2%}',
                 *(grouped(results[key]) for key in ('macs', 'flops', 'parameters'))])
  titles = ['member', 'test accuracy', 'balanced', 'MACs', 'FLOPs (2 x MACs)', 'parameters']
  lines = markdown_table(titles, rows) if rows else []
  return [*lines, *(['', f'not finished: {", ".join(unfinished)}'] if unfinished else [])]


TABLES = {'models': member_lines, 'specialists': member_lines, 'ablation': member_lines}


def write_table(study: Study) -> list[str]:
  """Makes the study's table, writes it to study.md, and returns its lines."""
  path = study.path / 'study.md'
  lines = TABLES[study.table](study)
  path.write_text('\n'.join([f'# {study.name}', '', *lines, '']))
  return [*lines, '', f'saved as {path}']

"""Progress of the first process: bars on a terminal's standard error, lines on standard output."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator

from rich import progress as rich_progress
from rich.console import Console

from mils_jax.distributed import processes


def log(line: str) -> None:
  """Prints one line of information and flushes it, so that a log file shows it during the run."""
  if processes.is_first():
    print(line, flush=True)


def log_lines(lines: Iterable[str]) -> None:
  """Prints several lines."""
  for line in lines:
    log(line)


def counted(number: int, noun: str, several: str = '') -> str:
  """A number with its noun: '1 epoch', '2 epochs'; with `several`, such as 'images have', that is the plural."""
  return f'{number} {noun}' if number == 1 else f'{number} {several or noun + "s"}'


@contextlib.contextmanager
def bar(description: str, total: int, unit: str = 'images') -> Iterator[Callable[..., None]]:
  """Shows a progress bar on a terminal, nothing elsewhere, and removes it at the end.

  Args:
    description: what is being done.
    total: number of units at the end.
    unit: what is counted; its rate is shown too.

  Yields:
    `advance(amount, note='')`: advances the bar by `amount` units and shows `note` (losses, accuracies) beside it.
  """
  columns = (
      rich_progress.TextColumn('{task.description}'),
      rich_progress.BarColumn(),
      rich_progress.MofNCompleteColumn(),
      rich_progress.TextColumn('{task.fields[rate]}'),
      rich_progress.TimeRemainingColumn(),
      rich_progress.TextColumn('{task.fields[note]}'),
  )
  # Not rich's own opinion: notebooks ask for colours by FORCE_COLOR, and a bar in a cell would be thousands of lines.
  shown = sys.stderr.isatty() and processes.is_first()
  with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as display:
    task = display.add_task(description, total=total, rate='', note='')

    def advance(amount: int, note: str = '') -> None:
      speed = display.tasks[0].speed
      rate = f'{speed:.0f} {unit}/s' if speed else ''
      display.update(task, advance=amount, rate=rate, note=note)

    yield advance

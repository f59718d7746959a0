"""Exceptions, by who can fix their cause.

The command line turns them into one line on standard error: `UserError` ends with exit code 2, `RunError` with 1 and
`Stopped` with 128 plus the signal's number, as in a shell.
"""

import signal
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
  """A mistake in the user's input; the message names the value, what was expected and the valid choices.

  Example:
    >>> import mils_jax
    >>> classifier = mils_jax.load(folder)  # such as 'runs/task_a'
    >>> try:
    ...   classifier.missing(['R', 'X'])
    ... except mils_jax.UserError as error:
    ...   print(error)
    unknown channel 'X'. Valid: R, G, B
  """


class RunError(Exception):
  """A run that failed; the message names what happened, what was kept and how to resume.

  Example:
    >>> import mils_jax
    >>> try:
    ...   classifier = mils_jax.load(damaged)  # a run folder whose best checkpoint lost a file
    ... except mils_jax.RunError as error:
    ...   print(error)
    the best checkpoint, of step ..., is damaged: ...
  """


class DamagedError(Exception):
  """A file that the program wrote has changed; the message names it.

  It never reaches the command line: code that opens a dataset cache or a checkpoint rebuilds it, uses another, or
  reports the damage.
  """


class Stopped(BaseException):
  """A signal ended the work. It is not an `Exception`, so no handler mistakes it for a failure.

  Args:
    number: number of the signal.
    step: step whose state was saved because of it, None where nothing new was saved.
  """

  def __init__(self, number: int, step: int | None = None):
    saved = '' if step is None else f' after step {step}, which is saved'
    super().__init__(f'stopped by {signal.Signals(number).name}{saved}')
    self.exit_code = 128 + number


def one_line(error: BaseException, most: int | None = None) -> str:
  """What an error says, in one line of at most so many characters; the name of its type where it says nothing."""
  return ' '.join(str(error).split())[:most] or type(error).__name__


def unknown(kind: str, value: str, choices: Iterable[str], unlisted: Iterable[str] = ()) -> UserError:
  """The error for a `value` that is not in `choices`; suggests the nearest one of these or of `unlisted`."""
  choices = list(choices)
  near = get_close_matches(str(value), [*choices, *unlisted], n=1)
  suggestion = f" Did you mean '{near[0]}'?" if near else ''
  return UserError(f"unknown {kind} '{value}'.{suggestion} Valid: {', '.join(choices) or 'none'}")

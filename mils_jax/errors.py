"""What can go wrong, told apart by who can mend it.

The command line turns them into one line on standard error: `UserError` ends with exit code 2, `RunError` with 1 and
`Stopped` with 128 and the signal's number, as a shell would say.
"""

import signal
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
  """A mistake in what the user gave: names the value, what was expected and the valid choices.

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
  """A run that failed: names what happened, what was kept and how to go on.

  Example:
    >>> import mils_jax
    >>> try:
    ...   classifier = mils_jax.load(damaged)  # a run folder whose best checkpoint lost a file
    ... except mils_jax.RunError as error:
    ...   print(error)
    the best checkpoint, of step ..., is damaged: ...
  """


class DamagedError(Exception):
  """Something that the program wrote is not as it was written; the message says what.

  It never reaches the command line: who opens a dataset cache or a checkpoint makes it anew, takes another, or says so.
  """


class Stopped(BaseException):
  """A signal ended the work; as no `Exception`, nothing on the way takes it for a failure.

  Args:
    number: of the signal.
    step: whose state was saved on account of it, None where nothing new was.
  """

  def __init__(self, number: int, step: int | None = None):
    saved = '' if step is None else f' after step {step}, which is saved'
    super().__init__(f'stopped by {signal.Signals(number).name}{saved}')
    self.exit_code = 128 + number


def unknown(kind: str, value: str, choices: Iterable[str], unlisted: Iterable[str] = ()) -> UserError:
  """The error for a `value` that is none of `choices`, with the nearest of them, or of those `unlisted`, suggested."""
  choices = list(choices)
  near = get_close_matches(str(value), [*choices, *unlisted], n=1)
  suggestion = f" Did you mean '{near[0]}'?" if near else ''
  return UserError(f"unknown {kind} '{value}'.{suggestion} Valid: {', '.join(choices) or 'none'}")

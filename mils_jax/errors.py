"""What can go wrong, told apart by who can mend it.

The command line turns both into one line on standard error: `UserError` ends with exit code 2, `RunError` with 1.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
  """A mistake in what the user gave: names the value, what was expected and the valid choices."""


class RunError(Exception):
  """A run that failed: names what happened, what was kept and how to go on."""


def unknown(kind: str, value: str, choices: Iterable[str]) -> UserError:
  """The error for a `value` that is none of `choices`, with the nearest one suggested first."""
  choices = list(choices)
  near = get_close_matches(str(value), choices, n=1)
  suggestion = f" Did you mean '{near[0]}'?" if near else ''
  return UserError(f"unknown {kind} '{value}'.{suggestion} Valid: {', '.join(choices) or 'none'}")

"""How the user started the program, so that the commands it suggests can be pasted as they stand.

    mils-jax cost runs/task_a                          installed; likewise `python -m mils_jax cost runs/task_a`
    python main.py --mode cost --workdir runs/task_a   in a checkout
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAM = 'mils-jax'
PLAIN = ('input', 'repository')  # flags that a second plain word behind a verb gives
OBJECTS = ('runs', 'config', 'workdir')  # flags for what a command works on: behind a verb the first is a plain word

_started = [PROGRAM]


def started_with(argv: Sequence[str]) -> None:
  """Remembers the words that started this process, as in sys.argv; without them a program imports the package."""
  _started[:] = argv


def has_verb(argv: Sequence[str]) -> bool:
  """Whether a command line begins with the name of its command."""
  return bool(argv[1:]) and not argv[1].startswith('-')


def as_typed(argv: Sequence[str]) -> str:
  """A whole command line, for a shell."""
  return shlex.join([*_program(argv[0]), *argv[1:]])


def with_verbs() -> bool:
  """Whether the user names commands by a word: a checkout's main.py has --mode too, and is known by it."""
  return has_verb(_started) or not _started[0].endswith('main.py')


def program() -> str:
  """'mils-jax', 'python main.py'."""
  return shlex.join(_program(_started[0]))


def mode(name: str) -> str:
  """A command as the user names it: 'mils-jax cost', '--mode cost'."""
  return f'{program()} {name}' if with_verbs() else f'--mode {name}'


def command(name: str, **flags: Any) -> str:
  """The command line that runs a command, for a shell.

  Args:
    name: of the command.
    flags: its flags, and configuration fields by their whole names; True for a switch.
  """
  target = next((key for key in OBJECTS if key in flags), '')
  plain = (target, *PLAIN) if with_verbs() else ()
  words = [str(value) for key, value in flags.items() if key in plain]
  for key, value in flags.items():
    if '.' in key:
      words.append(f'--{key}={value}')
    elif key not in plain:
      words += [f'--{key}'] if value is True else [f'--{key}', str(value)]
  named = [name] if with_verbs() else ['--mode', name] if name != 'train' else []
  return f'{program()} {shlex.join([*named, *words])}'


def next_lines(what: str, line: str) -> list[str]:
  """What to print at the end of a command's output: what the user may want next, and the command for it."""
  return ['', f'next: {what}:', f'  {line}']


def install(extra: str) -> str:
  """The command that installs what one of the extras brings."""
  checkout = (Path(__file__).parents[1] / 'pyproject.toml').is_file()
  return f"pip install -e '.[{extra}]'" if checkout else f"pip install '{PROGRAM}[{extra}]'"


def _program(started: str) -> list[str]:
  path = Path(started)
  if path.name == '__main__.py':
    return ['python', '-m', 'mils_jax']
  return ['python', started] if path.suffix == '.py' else [path.name]

"""How the user started the program, so that the commands it suggests can be pasted as they stand.

    mils-jax cost runs/task_a                          installed; also `python -m mils_jax cost runs/task_a`
    python main.py --mode cost --workdir runs/task_a   in a checkout
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROGRAM = 'mils-jax'
PLAIN = ('input', 'repository')  # flags that a second positional argument sets
OBJECTS = ('runs', 'config', 'workdir')  # flags for what a command works on: after a verb, the first is positional

_started = [PROGRAM]


def started_with(argv: Sequence[str]) -> None:
  """Remembers the command line of this process, as in sys.argv; it is never called where the package is imported."""
  _started[:] = argv


def has_verb(argv: Sequence[str]) -> bool:
  """Whether a command line begins with the name of its command."""
  return bool(argv[1:]) and not argv[1].startswith('-')


def as_typed(argv: Sequence[str]) -> str:
  """A whole command line, quoted for a shell."""
  return shlex.join([*_program(argv[0]), *argv[1:]])


def with_verbs() -> bool:
  """Whether the user names commands by a verb; a checkout's main.py also takes --mode, and is usually run so."""
  return has_verb(_started) or not _started[0].endswith('main.py')


def program() -> str:
  """How the program was started: 'mils-jax' or 'python main.py'."""
  return shlex.join(_program(_started[0]))


def mode(name: str) -> str:
  """A command as the user writes it: 'mils-jax cost' or '--mode cost'."""
  return f'{program()} {name}' if with_verbs() else f'--mode {name}'


def command(name: str, **flags: Any) -> str:
  """The command line that runs a command, quoted for a shell.

  Args:
    name: name of the command.
    flags: its flags, and configuration fields by their full names; True for a switch.
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


def next_lines(what: str, name: str, **flags: Any) -> list[str]:
  """The lines that end a command's output: what the user may want to do next, and the `command` for it."""
  return ['', f'next: {what}:', f'  {command(name, **flags)}']


def install(extra: str) -> str:
  """The command that installs one of the extras."""
  checkout = (Path(__file__).parents[1] / 'pyproject.toml').is_file()
  return f"pip install -e '.[{extra}]'" if checkout else f"pip install '{PROGRAM}[{extra}]'"


def _program(started: str) -> list[str]:
  path = Path(started)
  if path.name == '__main__.py':
    return ['python', '-m', 'mils_jax']
  return ['python', started] if path.suffix == '.py' else [path.name]

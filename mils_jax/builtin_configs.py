"""The configurations that come with the program, by name: 'task_a' is configs/task_a.py."""

import ast
from pathlib import Path

from mils_jax.errors import unknown

_FOLDER = Path(__file__).parent / 'configs'
_SWEEPS = 'sweeps'
OWN = 'a .py file of your own'


def builtin_configs(sweeps: bool | None = None) -> dict[str, Path]:
  """The files of the built-in configurations, by name.

  Args:
    sweeps: True: only sweeps; False: only others; None: all.
  """
  files = sorted(path for path in _FOLDER.rglob('*.py') if _is_config(path))
  return {path.stem: path for path in files if sweeps in (None, path.parent.name == _SWEEPS)}


def summary(path: Path) -> str:
  """The first line of a configuration's docstring."""
  return (ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').partition('\n')[0]


def find_config(text: str, sweeps: bool | None = None) -> Path:
  """The file of a configuration.

  Args:
    text: the name of a built-in one, or a path.
    sweeps: which to suggest where there is none, as for `builtin_configs`.

  Raises:
    UserError: there is none.
  """
  if text in builtin_configs():
    return builtin_configs()[text]
  if Path(text).is_file():
    return Path(text)
  here = sorted(path for path in Path('configs').rglob('*.py') if _is_config(path)) if text.endswith('.py') else ()
  raise unknown('configuration', text, [*map(str, here), *builtin_configs(sweeps), OWN])


def _is_config(path: Path) -> bool:
  return 'def get_config' in path.read_text(encoding='utf-8')

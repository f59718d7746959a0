"""Packages that only some features need."""

import importlib
from typing import Any

from mils_jax.errors import UserError


def require(name: str, what: str, how: str) -> Any:
  """The module `name`.

  Args:
    name: of the package.
    what: needs it.
    how: the command that installs it.

  Raises:
    UserError: it is not installed, or lacks something itself.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError(f'{what} needs {error.name or name}; {how}') from error

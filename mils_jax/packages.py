"""Imports optional packages, and reads versions."""

import importlib
from importlib import metadata
from typing import Any

from mils_jax.errors import UserError


def require(name: str, what: str, how: str) -> Any:
  """Imports the module `name`.

  Args:
    name: name of the package.
    what: the feature that needs it.
    how: the command that installs it.

  Raises:
    UserError: the package or one of its dependencies is not installed.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise UserError(f'{what} needs {error.name or name}; {how}') from error


def version(package: str) -> str:
  """Version of a distribution; else the module's own, as for onnxruntime from the distribution onnxruntime-gpu."""
  try:
    return metadata.version(package)
  except metadata.PackageNotFoundError:
    return str(getattr(importlib.import_module(package), '__version__', 'unknown'))

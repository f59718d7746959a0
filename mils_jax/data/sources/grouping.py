"""Finds the scene, slide or patient of an image file by its name."""

import re
from collections.abc import Sequence

import numpy as np

from mils_jax.errors import UserError

_GROUP = '{group}'


def pattern_of(setting: str) -> re.Pattern | None:
  """The pattern that data.group_by means for files: in '{group}_*.tif' the group is all before the last underscore.

  A pattern without a slash matches a file's name, one with a slash also the folder above it, and so on; `*` matches as
  little as possible.

  Returns:
    The pattern; None where the setting is the name of a column, or empty.
  """
  if _GROUP not in setting:
    return None
  parts = (re.escape(part) for part in setting.split(_GROUP, 1))
  before, after = (part.replace(re.escape('*'), '[^/]*?') for part in parts)
  return re.compile(f'(?:.*/)?{before}(?P<group>[^/]+){after}')


def groups_of(files: Sequence[str], pattern: re.Pattern) -> np.ndarray:
  """(N,) text: the group of each file by its relative path; raises UserError for a file that does not match."""
  found = []
  for file in files:
    match = pattern.fullmatch(file)
    if not match:
      raise UserError(f'data.group_by: {file} does not match the pattern; expected one that matches all files')
    found.append(match['group'])
  return np.array(found)

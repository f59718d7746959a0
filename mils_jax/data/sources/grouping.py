"""Which scene, slide or patient an image file is of, by its name."""

import re
from collections.abc import Sequence

import numpy as np

from mils_jax.errors import UserError

_GROUP = '{group}'


def pattern_of(setting: str) -> re.Pattern | None:
  """What data.group_by means for files: of '{group}_*.tif' the group is all before the last underscore.

  A pattern without a slash is of a file's name, one with a slash of the folder above, too, and so on; `*` stands for
  as little as possible.

  Returns:
    None where it is no pattern but the name of a column, or empty.
  """
  if _GROUP not in setting:
    return None
  parts = (re.escape(part) for part in setting.split(_GROUP, 1))
  before, after = (part.replace(re.escape('*'), '[^/]*?') for part in parts)
  return re.compile(f'(?:.*/)?{before}(?P<group>[^/]+){after}')


def groups_of(files: Sequence[str], pattern: re.Pattern) -> np.ndarray:
  """(N,) text: the group of each file by its relative path; raises UserError for one that is called otherwise."""
  found = []
  for file in files:
    match = pattern.fullmatch(file)
    if not match:
      raise UserError(f'data.group_by: {file} is not called as the pattern says; expected one that fits all files')
    found.append(match['group'])
  return np.array(found)

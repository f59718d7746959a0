"""Finds the scene, slide or patient of an image file by its name."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from mils_jax.errors import UserError


def pattern_of(setting: str) -> re.Pattern | None:
  """The pattern that data.group_by means for files: in '{group}_*.tif' the group is all before the last underscore.

  A pattern without a slash matches a file's name, one with a slash also the folder above it, and so on; `*` matches as
  little as possible. An image whose bands have a file each, x_B02.tif and x_B03.tif, counts as x.tif.

  Returns:
    The pattern; None where the setting is the name of a column, or empty.
  """
  if setting.count('{group}') != 1:
    return None
  return re.compile('(?:.*/)?' + as_regex(setting, {'{group}': '(?P<group>[^/]+)', '*': '[^/]*?'}))


def as_regex(pattern: str, parts: Mapping[str, str]) -> str:
  """A pattern of names as a regular expression: its parts as they are given, all else as it stands."""
  escaped = re.escape(pattern)
  for part, expression in parts.items():
    escaped = escaped.replace(re.escape(part), expression)
  return escaped


def groups_of(files: Sequence[str], pattern: re.Pattern) -> np.ndarray:
  """(N,) text: the group of each file by its relative path; raises UserError for a file that does not match."""
  found = []
  for file in files:
    match = pattern.fullmatch(file)
    if not match:
      raise UserError(f'data.group_by: {file} does not match the pattern; expected one that matches all files')
    found.append(match['group'])
  return np.array(found)

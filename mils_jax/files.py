"""Writing a file whole or not at all, and telling a place that cannot be written from a disk that is full."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = '.tmp'  # suffix of what is being written, and of what a process that died was writing

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)  # of OSErrors: choose another place


def as_name(text: str) -> str:
  """The text with what a file name had better not contain replaced."""
  return re.sub(r'[^\w.=,+-]', '_', text)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
  """Yields a path to write to; what is there in the end takes the place of `path` at once.

  A reader sees the old file or the new one, never half of one. Where an error leaves the context the old one stays.
  """
  unfinished = path.with_name(path.name + UNFINISHED)
  yield unfinished
  os.replace(unfinished, path)

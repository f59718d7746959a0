"""Paths that users give, atomic writing of files, and errors of folders that cannot be written."""

import contextlib
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mils_jax.errors import UserError

UNFINISHED = '.tmp'  # suffix of files that are being written, or that a process left when it died

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)  # choose another folder


def local_path(text: str, name: str) -> str:
  """A path that a user gave, with '~' at its beginning expanded to the home folder.

  Raises:
    UserError: it is an address such as gs://bucket/run. A run folder needs locks, renames and appends, which object
      stores do not offer.
  """
  if re.match(r'[A-Za-z][A-Za-z0-9+.-]*://', text):
    raise UserError(f"{name}={text}: only folders of this machine's file system can be used, mounted ones too; "
                    'expected a path such as /mnt/bucket/run')
  return os.path.expanduser(text)


def as_name(text: str) -> str:
  """The text with characters that are unsafe in file names replaced."""
  return re.sub(r'[^\w.=,+-]', '_', text)


def shortened(text: str, always: bool = False, longest: int = 100) -> str:
  """The text as the name of a file; where that is longer, or `always`, its beginning and a hash of the text."""
  name = as_name(text)
  if len(name) <= longest and not always:
    return name
  return f"{name[:80]}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


def make_writable(folder: Path, target: Path) -> None:
  """Creates a folder, before any work is lost; raises UserError where `target`, given as --output, is not writable."""
  try:
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
  except OSError as error:
    raise UserError(f'--output {target} cannot be written: {error.strerror}') from error


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
  """Yields a path to write to; what was written replaces `path` atomically at the end.

  A reader sees the old file or the new one, never half of one. On an error the old one stays, and what was written is
  deleted, as it may be what filled the disk. Each process writes a file of its own.
  """
  unfinished = path.with_name(f'{path.name}.{os.getpid()}{UNFINISHED}')
  try:
    yield unfinished
  except BaseException:
    with contextlib.suppress(OSError):
      unfinished.unlink(missing_ok=True)
    raise
  os.replace(unfinished, path)

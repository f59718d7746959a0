"""Recognises image files by the suffixes of their names."""

import collections
import functools
import os
from collections.abc import Iterable

from mils_jax.errors import UserError

ARRAY = '.npy'
TIFF = ('.tif', '.tiff')
JPEG2000 = ('.jp2', '.j2k', '.j2c', '.jpc', '.jpf', '.jpx')
COMMON = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.gif', '.ppm', '.pgm', *TIFF, ARRAY)  # named first in messages
# Formats that Pillow registers but does not decode itself (containers, films, and programs for other interpreters), and
# FITS, of which it reads integers with a wrong offset and one plane of several.
_NOT_DECODED = {'.bufr', '.emf', '.eps', '.fit', '.fits', '.grib', '.h5', '.hdf', '.mpeg', '.mpg', '.ps', '.wmf'}
# Image formats that nothing here decodes: in predict each file gets a row, so that none is missing silently.
_UNREADABLE = {'.arw', '.cr2', '.cr3', '.czi', '.dcm', '.dng', '.exr', '.hdr', '.heic', '.heif', '.jxl', '.lif', '.nd2',
               '.nef', '.nii', '.nrrd', '.orf', '.raf', '.raw', '.rw2', '.svg', '.zarr'}


@functools.cache
def suffixes() -> frozenset[str]:
  """All readable suffixes: those that the installed Pillow decodes, TIFF and `.npy`."""
  from PIL import Image, features

  Image.init()
  known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
  without = {suffix for feature, kinds in (('avif', ('.avif', '.avifs')), ('webp', ('.webp',)),
                                           ('jpg_2000', JPEG2000))
             if not features.check(feature) for suffix in kinds}
  return frozenset((known - _NOT_DECODED - without) | {*TIFF, ARRAY})


def suffix(name: str) -> str:
  """The suffix of a name in lower case: '.jpg' for 'a/b.JPG'."""
  return os.path.splitext(name)[1].lower()


def is_readable(name: str) -> bool:
  return suffix(name) in suffixes()


def is_image(name: str) -> bool:
  """Whether a file is named like an image, whether or not its format can be read here."""
  return is_readable(name) or suffix(name) in _UNREADABLE | _NOT_DECODED


def images_beneath(folder: str, prefix: str, above: tuple = ()) -> tuple[list[str], list[str]]:
  """Sorted relative paths, beginning with `prefix`, of all images below a folder, and those of all other files.

  Raises:
    UserError: a link makes a folder contain itself; `above` are the folders on the way.
  """
  status = os.stat(folder)
  here = (status.st_dev, status.st_ino)
  if here in above:
    raise UserError(f'{folder}: contains itself, by a link; expected folders without cycles')
  found, others = [], []
  with os.scandir(folder) as entries:
    for entry in sorted(entries, key=lambda entry: entry.name):
      if entry.name.startswith('.'):
        continue
      if entry.is_dir():
        images, rest = images_beneath(entry.path, f'{prefix}/{entry.name}', (*above, here))
        found += images
        others += rest
      else:
        (found if is_readable(entry.name) else others).append(f'{prefix}/{entry.name}')
  return found, others


def holds_images(folder: str) -> bool:
  """Whether there is an image below a folder; links are not followed, and unreadable folders are skipped."""
  if os.path.islink(folder):
    return False
  for _, folders, files in os.walk(folder):
    folders[:] = [name for name in folders if not name.startswith('.')]
    if any(is_readable(name) for name in files if not name.startswith('.')):
      return True
  return False


def listed() -> str:
  """The suffixes as text for a message, the common ones first."""
  return ', '.join([*COMMON, *sorted(suffixes().difference(COMMON))])


def by_suffix(names: Iterable[str]) -> str:
  """The number of files with each suffix, the most frequent first: '.heic (12), .txt (1)'."""
  counts = collections.Counter(suffix(name) or os.path.basename(name) for name in names)
  return ', '.join(f'{kind} ({number})' for kind, number in counts.most_common())

"""The packed set: what a source becomes once, on disk, and how it is opened again.

A packed folder holds, per split, `images.npy` (N, H, W, C), `labels.npy` (N,) and `identities.npy` (N,), and beside
them `manifest.json`. Opening maps the arrays into memory and reads no picture.
"""

import dataclasses
import json
import zlib
from pathlib import Path

import numpy as np

from mils_jax.data.sources.source import SPLITS
from mils_jax.errors import DamagedError

FORMAT_VERSION = 1
MANIFEST = 'manifest.json'


@dataclasses.dataclass(frozen=True)
class Split:
  """One split of a packed set.

  Attributes:
    images: (N, H, W, C) in the source's number type, a read-only memory map.
    labels: (N,) int32.
    identities: (N,) text, what names each picture whatever size was asked for.
  """

  images: np.ndarray
  labels: np.ndarray
  identities: np.ndarray

  def __len__(self) -> int:
    return len(self.labels)


@dataclasses.dataclass(frozen=True)
class PackedSet:
  """A whole data set, opened.

  Attributes:
    folder: where it lies.
    classes: name of each class.
    channels: name of each channel.
    units: unit of each channel's values, '' where unknown.
    mean, std: (C,) float64, of the training split's finite values in the stored unit; a std of 0 is replaced by 1.
    fingerprint: of the inputs and settings that it was made from.
    splits: train, val and test.
    not_finite: per split, how many values are not finite and where the first picture with one is.
  """

  folder: Path
  classes: tuple[str, ...]
  channels: tuple[str, ...]
  units: tuple[str, ...]
  mean: np.ndarray
  std: np.ndarray
  fingerprint: str
  splits: dict[str, Split]
  not_finite: dict[str, tuple[int, str]]

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of every picture."""
    return self.splits['train'].images.shape[1:]


def write_manifest(folder: Path, values: dict) -> None:
  """Writes the manifest, with checksums of the small arrays that already lie in the folder."""
  checksums = {f'{split}/{name}.npy': _checksum(folder / split / f'{name}.npy')
               for split in SPLITS for name in ('labels', 'identities')}
  text = json.dumps({'version': FORMAT_VERSION, **values, 'checksums': checksums}, indent=1)
  (folder / MANIFEST).write_text(text, encoding='utf-8')


def open_folder(folder: Path) -> PackedSet:
  """Opens a packed folder.

  Raises:
    DamagedError: it is of another version, a file is missing or cut short, or labels or names do not have the
      checksum that was written. Pictures are not read, so a changed pixel stays unseen.
    PermissionError: it may not be read.
  """
  try:
    manifest = json.loads((folder / MANIFEST).read_text(encoding='utf-8'))
    if manifest['version'] != FORMAT_VERSION:
      raise DamagedError(f"has version {manifest['version']}, not {FORMAT_VERSION}")
    for name, expected in manifest['checksums'].items():
      if _checksum(folder / name) != expected:
        raise DamagedError(f'is damaged ({name} has changed)')
    splits = {split: _open_split(folder / split, manifest, split) for split in SPLITS}
    texts = {key: tuple(manifest[key]) for key in ('classes', 'channels', 'units')}
    numbers = {key: np.array(manifest[key], np.float64) for key in ('mean', 'std')}
    not_finite = {split: (count, first) for split, (count, first) in manifest['not_finite'].items()}
    return PackedSet(folder, **texts, **numbers, fingerprint=manifest['fingerprint'], splits=splits,
                     not_finite=not_finite)
  except PermissionError:  # of another user: whole, for all that is known
    raise
  except FileNotFoundError as error:
    raise DamagedError(f'is damaged ({Path(error.filename).name} is missing)') from error
  except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
    raise DamagedError(f"is damaged ({' '.join(str(error).split())})") from error


def _open_split(folder: Path, manifest: dict, split: str) -> Split:
  images = np.load(folder / 'images.npy', mmap_mode='r', allow_pickle=False)
  labels = np.load(folder / 'labels.npy', allow_pickle=False)
  identities = np.load(folder / 'identities.npy', mmap_mode='r', allow_pickle=False)
  shape, dtype = tuple(manifest['shapes'][split]), manifest['number_type']
  if images.shape != shape or images.dtype != np.dtype(dtype):
    raise DamagedError(f'is damaged ({split}/images.npy is {images.shape} of {images.dtype}, not {shape} of {dtype})')
  if labels.shape != shape[:1] or identities.shape != shape[:1]:
    raise DamagedError(f'is damaged ({split} has {len(images)} pictures but {len(labels)} labels)')
  return Split(images, labels, identities)


def _checksum(path: Path) -> int:
  return zlib.crc32(path.read_bytes())

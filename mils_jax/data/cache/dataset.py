"""The dataset cache: what a source becomes once, on disk, and how it is opened again.

Its folder holds, per split, `images.npy` (N, H, W, C), `labels.npy` (N,) and `example_ids.npy` (N,), and beside them
`manifest.json`. Opening maps the arrays into memory and reads no image.
"""

import dataclasses
import json
import zlib
from pathlib import Path

import numpy as np

from mils_jax.data.sources.source import NOTHING_STATED, Statement
from mils_jax.errors import DamagedError, one_line

FORMAT_VERSION = 3  # version of the folder; a dataset cache of another version is built again
MANIFEST = 'manifest.json'


@dataclasses.dataclass(frozen=True)
class Split:
  """One split of a dataset cache.

  Attributes:
    images: (N, H, W, C) in the source's dtype, a read-only memory map.
    labels: (N,) int32.
    example_ids: (N,) text that identifies each image, independent of its size in the cache.
    present: (N, C) bool, which channels each image has; None: every image has all.
  """

  images: np.ndarray
  labels: np.ndarray
  example_ids: np.ndarray
  present: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.labels)


@dataclasses.dataclass(frozen=True)
class CachedDataset:
  """A whole dataset, opened.

  Attributes:
    folder: folder of the dataset cache.
    classes: name of each class.
    channels: name of each channel.
    units: unit of each channel's values, '' where unknown.
    mean, std: (C,) float64, mean and standard deviation of the training split's finite values in the stored unit,
      without those that have no data; a std of 0 is replaced by 1.
    low, high: (C,) float64, smallest and largest of these values.
    fingerprint: fingerprint of the inputs and settings that it was built from.
    content: digest of all that a run sees: images, labels, and the names of classes and channels. A copy has the same.
    splits: train, val and test; without val or test where these were neither there nor cut.
    nonfinite: per split, (C,) numbers of non-finite values and, per channel, the location of the first image with one.
    remarks: lines on what was done with images when they were read, and what was left out.
    stated_channels: what the image files call their channels; taken from the source, and not part of the folder.
  """

  folder: Path
  classes: tuple[str, ...]
  channels: tuple[str, ...]
  units: tuple[str, ...]
  mean: np.ndarray
  std: np.ndarray
  low: np.ndarray
  high: np.ndarray
  fingerprint: str
  content: str
  splits: dict[str, Split]
  nonfinite: dict[str, tuple[list[int], list[str]]]
  remarks: tuple[str, ...]
  stated_channels: Statement | None = NOTHING_STATED

  @property
  def fill(self) -> np.ndarray:
    """(C,) float64: what replaces pixels without data: the mean, rounded to the images' dtype."""
    return filling(self.mean, self.splits['train'].images.dtype).astype(np.float64)

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of every image."""
    return self.splits['train'].images.shape[1:]


def filling(mean: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """The value of pixels without data, by the mean of their channel; rounded for integer dtypes."""
  return (mean if dtype.kind == 'f' else np.rint(mean)).astype(dtype)


def write_manifest(folder: Path, values: dict) -> None:
  """Writes the manifest, with checksums of the small arrays that are already in the folder."""
  arrays = ('labels', 'example_ids', *(['present'] if values['partial'] else []))
  checksums = {f'{split}/{name}.npy': _checksum(folder / split / f'{name}.npy')
               for split in values['shapes'] for name in arrays}
  text = json.dumps({'version': FORMAT_VERSION, **values, 'checksums': checksums}, indent=1)
  (folder / MANIFEST).write_text(text, encoding='utf-8')


def open_folder(folder: Path) -> CachedDataset:
  """Opens the folder of a dataset cache.

  Raises:
    DamagedError: it has another version, a file is missing or cut short, or labels or example_ids do not have the
      checksum that was written. Images are not read, so a changed pixel stays unseen.
    PermissionError: it may not be read.
  """
  try:
    manifest = json.loads((folder / MANIFEST).read_text(encoding='utf-8'))
    if manifest['version'] != FORMAT_VERSION:
      raise DamagedError(f"has version {manifest['version']}, not {FORMAT_VERSION}")
    for name, expected in manifest['checksums'].items():
      if _checksum(folder / name) != expected:
        raise DamagedError(f'is damaged ({name} has changed)')
    splits = {split: _open_split(folder / split, manifest, split) for split in manifest['shapes']}
    classes, channels, units = (tuple(manifest[key]) for key in ('classes', 'channels', 'units'))
    mean, std, low, high = (np.array(manifest[key], np.float64) for key in ('mean', 'std', 'low', 'high'))
    nonfinite = {split: (list(counts), list(first)) for split, (counts, first) in manifest['nonfinite'].items()}
    return CachedDataset(folder, classes=classes, channels=channels, units=units, mean=mean, std=std, low=low,
                         high=high, fingerprint=manifest['fingerprint'], content=manifest['content'], splits=splits,
                         nonfinite=nonfinite, remarks=tuple(manifest['remarks']))
  except PermissionError:  # another user's, and whole for all that is known
    raise
  except FileNotFoundError as error:
    raise DamagedError(f'is damaged ({Path(error.filename).name} is missing)') from error
  except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
    raise DamagedError(f"is damaged ({one_line(error)})") from error


def _open_split(folder: Path, manifest: dict, split: str) -> Split:
  images = np.load(folder / 'images.npy', mmap_mode='r', allow_pickle=False)
  labels = np.load(folder / 'labels.npy', allow_pickle=False)
  example_ids = np.load(folder / 'example_ids.npy', mmap_mode='r', allow_pickle=False)
  shape, dtype = tuple(manifest['shapes'][split]), manifest['dtype']
  if images.shape != shape or images.dtype != np.dtype(dtype):
    raise DamagedError(f'is damaged ({split}/images.npy is {images.shape} of {images.dtype}, not {shape} of {dtype})')
  if labels.shape != shape[:1] or example_ids.shape != shape[:1]:
    raise DamagedError(f'is damaged ({split} has {len(images)} images but {len(labels)} labels)')
  present = np.load(folder / 'present.npy', allow_pickle=False) if manifest['partial'] else None
  return Split(images, labels, example_ids, present)


def _checksum(path: Path) -> int:
  return zlib.crc32(path.read_bytes())

"""Sources for tests: held in memory, or watched; and image folders written on the spot."""

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mils_jax.data.sources.folder import FolderOptions, FolderSource
from mils_jax.data.sources.images import read_image
from mils_jax.data.sources.pixels import Reading
from mils_jax.data.sources.source import NOTHING_STATED, Source, Statement


@dataclasses.dataclass
class MemorySource:
  """Images and labels given as arrays per split."""

  images: dict[str, np.ndarray]
  given_labels: dict[str, np.ndarray]
  classes: tuple[str, ...] = ('a', 'b')
  channels: tuple[str, ...] = ('R', 'G', 'B')
  units: tuple[str, ...] = ('', '', '')
  decodes: bool = False
  notes: tuple[str, ...] = ()
  stated_channels: Statement = NOTHING_STATED
  version: int = 0
  given_groups: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

  @property
  def splits(self) -> tuple[str, ...]:
    return tuple(self.images)

  def length(self, split: str) -> int:
    return len(self.images[split])

  def labels(self, split: str) -> np.ndarray:
    return self.given_labels[split]

  def groups(self, split: str) -> np.ndarray | None:
    return self.given_groups.get(split)

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    return self.images[split][index], int(self.given_labels[split][index])

  def remarks(self, split: str, index: int) -> tuple[str, ...]:
    return ()

  def example_id(self, split: str, index: int) -> str:
    return f'{split}/{index}'

  def place(self, split: str, index: int) -> str:
    return f'{split}[{index}]'

  def settings(self) -> dict:
    return {'version': self.version}

  def inputs(self) -> list[tuple[str, int, int]]:
    return []

  def missing(self) -> list[str]:
    return []


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.05)


@dataclasses.dataclass
class WatchedSource:
  """Another source, which notes the process of each reading in a folder.

  Attributes:
    source: what is read.
    folder: gets a file named by its id for each process that reads.
    awaited: number of processes that must have come to read before any reads on.
    workers_wait: seconds that each reading takes in a worker.
    workers_die: whether workers end at their first reading.
  """

  source: Source
  folder: Path
  awaited: int = 1
  workers_wait: float = 0
  workers_die: bool = False

  def __getattr__(self, name: str):
    if name.startswith('__') or 'source' not in self.__dict__:
      raise AttributeError(name)
    return getattr(self.source, name)

  def readers(self) -> set[str]:
    return {path.name for path in self.folder.iterdir()}

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    self.folder.mkdir(exist_ok=True)
    (self.folder / str(os.getpid())).touch()
    if (split, index) == ('train', 0):  # which the parent reads before it starts workers
      pass
    elif (worker := multiprocessing.parent_process() is not None) and self.workers_die:
      os._exit(9)
    else:
      wait_until(lambda: len(self.readers()) >= self.awaited)
      time.sleep(self.workers_wait if worker else 0)
    return self.source.read(split, index)


def memory_source(train: int = 20, val: int = 5, test: int = 7, shape: tuple = (4, 5, 3), dtype: str = 'uint8',
                  seed: int = 0) -> MemorySource:
  """Random images of any dtype, two alternating classes."""
  random = np.random.default_rng(seed)
  limits = (0, 1000) if dtype == 'float32' else (np.iinfo(dtype).min, np.iinfo(dtype).max)
  counts = {'train': train, 'val': val, 'test': test}
  channels = tuple(f'c{channel}' for channel in range(shape[-1]))
  images = {split: random.integers(*limits, (count, *shape)).astype(dtype) for split, count in counts.items()}
  labels = {split: np.arange(count, dtype=np.int32) % 2 for split, count in counts.items()}
  return MemorySource(images, labels, channels=channels, units=('',) * len(channels))


def read_pixels(path, size: int = 0, channel_axis: str = '', **reading) -> np.ndarray:
  """An image file's pixels alone."""
  return read_image(str(path), Reading(size, channel_axis, **reading)).pixels


def folder_source(root, channel_names: tuple[str, ...] = (), size: int = 0, channel_axis: str = '',
                  color: str = 'as_is', nodata: str = '', **own) -> FolderSource:
  """An image folder as a source; `own` are the options of folders alone."""
  return FolderSource(str(root), Reading(size, channel_axis, color, nodata), channel_names, FolderOptions(**own))


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (10, 10), mode: str = 'RGB') -> np.ndarray:
  """Writes a random image of (height, width) and returns it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  channels = {'RGB': (3,), 'RGBA': (4,), 'L': ()}[mode]
  pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels)).astype(np.uint8)
  Image.fromarray(pixels).save(path)
  return pixels


def write_lists(root: Path, train: int = 6, val: int = 2, test: int = 2, suffix: str = 'png') -> dict[str, np.ndarray]:
  """A folder of two classes with lists; returns every image by its relative path."""
  written = {}
  for split, count in (('train', train), ('val', val), ('test', test)):
    lines = []
    for index in range(count):
      name = f'images/{split} {index}.{suffix}'
      written[name] = write_image(root / name, seed=len(written))
      lines.append(f'{name} {index % 2}')
    if count:
      (root / f'{split}.txt').write_text('\n'.join(lines) + '\n')
  return written

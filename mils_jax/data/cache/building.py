"""Builds the dataset cache of a source, once, and finds it again by its fingerprint."""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mils_jax import progress
from mils_jax.data.cache.dataset import CachedDataset, open_folder
from mils_jax.data.cache.pieces import Piece, PieceResult
from mils_jax.data.cache.workers import built_pieces
from mils_jax.data.cache.writing import first_of, write_dataset
from mils_jax.data.sources.source import Source, first_readable
from mils_jax.distributed import processes
from mils_jax.errors import DamagedError, RunError, UserError

PIECE_BYTES = 2**22  # most bytes of images that a process holds at a time
PIECE_IMAGES = 256
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNFINISHED = '.unfinished-'


def open_dataset(source: Source, cache: Path, skip_damaged: bool = False) -> CachedDataset:
  """Opens the dataset cache of a source, building it first where there is none.

  Args:
    source: has a training split.
    cache: folder of dataset caches, made where missing.
    skip_damaged: skip images that cannot be read or used, and count them.

  Raises:
    UserError: images cannot be read or differ from the others; the first of them are named.
    RunError: the disk is full; nothing half-written stays.
  """
  for note in source.notes:
    progress.log(note)
  mark = fingerprint(source, skip_damaged)
  try:
    with processes.first_goes_first('dataset'):  # on a shared disk, the other processes find what it built
      dataset = _open_or_build(source, Path(cache) / mark, mark, skip_damaged)
  except OSError as error:
    if error.errno in _DISK_FULL:
      raise RunError(f'building the dataset cache in {cache}: {os.strerror(error.errno)}; nothing half-written was '
                     'kept. Free some space, or choose another folder, and run the same command again') from error
    if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
      raise UserError(f'cannot use the cache {cache}: {error.strerror} ({error.filename}); expected a folder that can '
                      'be read and written') from error
    raise
  for remark in dataset.remarks:
    progress.log(remark)
  return dataclasses.replace(dataset, stated_channels=source.stated_channels)


def fingerprint(source: Source, skip_damaged: bool = False) -> str:
  """A hash of everything that shapes the dataset cache: settings, and names, sizes and times of the inputs.

  A dataset cache that left damaged images out was hashed otherwise as long as its statistics might count pixels without
  data; it is built again. Its content stays, by which a run knows its data.

  Raises:
    UserError: images are listed and not there, and `skip_damaged` is not set.
  """
  inputs = source.inputs()
  if not skip_damaged and any(size < 0 for _, size, _ in inputs):
    first, *others = source.missing()
    raise UserError(f'{first} ({1 + len(others)} of {len(inputs)} files are not there; data.skip_damaged=true leaves '
                    'them out)')
  settings = {**source.settings(), **({'skip_damaged': 2} if skip_damaged else {})}
  digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=12)
  for name, size, time in inputs:
    digest.update(f'\n{name}\0{size}\0{time}'.encode(errors='surrogateescape'))  # names need not be UTF-8
  return digest.hexdigest()


def _open_or_build(source: Source, folder: Path, mark: str, skip_damaged: bool) -> CachedDataset:
  if folder.exists():
    with contextlib.suppress(DamagedError):
      return open_folder(folder)
  folder.parent.mkdir(parents=True, exist_ok=True)
  with _locked(folder.parent / f'.{mark}.lock'):  # another process may be building the same one
    if folder.exists():
      try:
        return open_folder(folder)
      except DamagedError as error:
        progress.log(f'dataset cache {folder} {error}: building it again')
        shutil.rmtree(folder)
    _remove_leftovers(folder.parent, mark)
    with _unfinished_folder(folder.parent, mark) as unfinished:
      _build(source, unfinished, mark, skip_damaged)
      os.rename(unfinished, folder)
  return open_folder(folder)


def _build(source: Source, folder: Path, mark: str, skip_damaged: bool) -> None:
  """Writes the dataset cache into a folder."""
  lengths = {split: source.length(split) for split in source.splits}
  for split, length in lengths.items():
    if length < 1:
      raise UserError(f'the {split} split is empty; expected at least one image '
                      '(data.val_fraction and data.test_fraction give the shares cut from training)')
    source.labels(split)  # refuses labels outside the classes, before anything is written
  image = first_readable(lambda index: source.read('train', index)[0], range(lengths['train']))  # all are to be like it
  pieces = [piece for split in source.splits for piece in lay_out(folder / split, split, lengths[split], image)]
  results: list[PieceResult] = []
  with (progress.bar('building the dataset cache', sum(lengths.values())) as advance,
        built_pieces(source, pieces, folder) as built):
    for piece, result in zip(pieces, built, strict=True):
      results.append(result)
      advance(piece.stop - piece.start)
  damaged = [reason for result in results for reason in result.damaged.values()]
  if damaged and not skip_damaged:
    raise UserError(_damage(damaged, sum(lengths.values())))
  write_dataset(folder, source, list(zip(pieces, results, strict=True)), mark)


def _damage(damaged: list[str], count: int) -> str:
  """The message that counts the images that cannot be used and names the first of them."""
  if len(damaged) == 1:
    return damaged[0]
  return (f'{len(damaged)} of {count} images cannot be used (data.skip_damaged=true leaves them out): '
          f'{first_of(damaged)}')


def lay_out(folder: Path, split: str, length: int, image: np.ndarray) -> list[Piece]:
  """Makes a split's images.npy, its space reserved, and the pieces that will fill it."""
  folder.mkdir()
  path = folder / 'images.npy'
  images = np.lib.format.open_memmap(path, 'w+', image.dtype.name, (length, *image.shape))
  if hasattr(os, 'posix_fallocate'):
    with open(path, 'r+b') as file:  # a full disk shows now, not after an hour
      os.posix_fallocate(file.fileno(), images.offset, images.nbytes)
  step = max(1, min(PIECE_IMAGES, PIECE_BYTES // image.nbytes))
  return [Piece(split, start, min(start + step, length), image.shape, image.dtype.name, str(path), images.offset)
          for start in range(0, length, step)]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
  """Holds an exclusive lock on a file; the system releases it when this process ends, in whatever way."""
  with open(path, 'w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      progress.log(f'another process is building a dataset cache in {path.parent}: waiting for it')
      fcntl.flock(file, fcntl.LOCK_EX)
    yield


@contextlib.contextmanager
def _unfinished_folder(cache: Path, mark: str) -> Iterator[Path]:
  folder = cache / f'{_UNFINISHED}{mark}-{os.getpid()}'
  folder.mkdir()  # with the user's usual permissions: others may share the cache
  try:
    yield folder
  finally:
    shutil.rmtree(folder, ignore_errors=True)  # already renamed where all went well


def _remove_leftovers(cache: Path, own: str) -> None:
  """Removes what killed processes left: unfinished folders of this dataset, or of others whose lock is free."""
  for folder in cache.glob(f'{_UNFINISHED}*'):
    mark = folder.name.removeprefix(_UNFINISHED).split('-')[0]
    with open(cache / f'.{mark}.lock', 'w') as file:
      try:
        if mark != own:
          fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        continue
      shutil.rmtree(folder, ignore_errors=True)

"""Builds the dataset cache of a source, once, and finds it again by its fingerprint."""

import contextlib
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
from mils_jax.data.cache.dataset import CachedDataset, open_folder, write_manifest
from mils_jax.data.cache.pieces import Piece, PieceResult
from mils_jax.data.cache.workers import built_pieces
from mils_jax.data.moments import Moments
from mils_jax.data.sources.source import SPLITS, Source
from mils_jax.distributed import processes
from mils_jax.errors import DamagedError, RunError, UserError

PIECE_BYTES = 2**22  # of images that a process holds at a time, at most
PIECE_IMAGES = 256
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNFINISHED = '.unfinished-'


def open_dataset(source: Source, cache: Path, allow_nonfinite: bool = False) -> CachedDataset:
  """Opens the dataset cache of a source, building it first where there is none.

  Args:
    source: has all three splits.
    cache: folder of dataset caches, made where missing.
    allow_nonfinite: also open a dataset with non-finite values.

  Raises:
    UserError: an image cannot be read or differs from the others, or values are non-finite.
    RunError: the disk is full; nothing half-written stays.
  """
  for note in source.notes:
    progress.log(note)
  mark = fingerprint(source)
  try:
    with processes.first_goes_first('dataset'):  # on a shared disk, the other processes find what it built
      dataset = _open_or_build(source, Path(cache) / mark, mark)
  except OSError as error:
    if error.errno in _DISK_FULL:
      raise RunError(f'building the dataset cache in {cache}: {os.strerror(error.errno)}; nothing half-written was '
                     'kept. Free some space, or choose another folder, and run the same command again') from error
    if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
      raise UserError(f'cannot use the cache {cache}: {error.strerror} ({error.filename}); expected a folder that can '
                      'be read and written') from error
    raise
  bad = {split: found for split, found in dataset.nonfinite.items() if found[0]}
  if bad and not allow_nonfinite:
    where = '; '.join(f'{split}: {count}, first in {first}' for split, (count, first) in bad.items())
    raise UserError(f'non-finite values ({where}); expected finite numbers only')
  return dataset


def fingerprint(source: Source) -> str:
  """A hash of everything that shapes the dataset cache: settings, and names, sizes and times of the inputs."""
  digest = hashlib.blake2b(json.dumps(source.settings(), sort_keys=True).encode(), digest_size=12)
  for name, size, time in source.inputs():
    digest.update(f'\n{name}\0{size}\0{time}'.encode())
  return digest.hexdigest()


def _open_or_build(source: Source, folder: Path, mark: str) -> CachedDataset:
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
      _build(source, unfinished, mark)
      os.rename(unfinished, folder)
  return open_folder(folder)


def _build(source: Source, folder: Path, mark: str) -> None:
  """Writes the dataset cache into a folder."""
  lengths = {split: source.length(split) for split in SPLITS}
  for split, length in lengths.items():
    if length < 1:
      raise UserError(f'the {split} split is empty; expected at least one image '
                      '(data.val_fraction and data.test_fraction give the shares cut from training)')
    source.labels(split)  # refuses labels outside the classes, before anything is written
  image = source.read('train', 0)[0]
  pieces = [piece for split in SPLITS for piece in _lay_out(folder / split, split, lengths[split], image)]
  results: dict[str, list[PieceResult]] = {split: [] for split in SPLITS}
  with (progress.bar('building the dataset cache', sum(lengths.values())) as advance,
        built_pieces(source, pieces, folder) as built):
    for piece, result in zip(pieces, built, strict=True):
      results[piece.split].append(result)
      advance(piece.stop - piece.start)
  moments = Moments.none(image.shape[-1])
  for result in results['train']:
    assert result.moments is not None  # as of every training piece
    moments = moments.merge(result.moments)
  for split in SPLITS:
    np.save(folder / split / 'labels.npy', np.concatenate([result.labels for result in results[split]]))
    example_ids = [name for result in results[split] for name in result.example_ids]
    np.save(folder / split / 'example_ids.npy', np.array(example_ids))
  write_manifest(folder, {
      'fingerprint': mark, 'settings': source.settings(), 'classes': source.classes, 'channels': source.channels,
      'units': source.units, 'mean': moments.mean.tolist(), 'std': np.where(moments.std > 0, moments.std, 1).tolist(),
      'dtype': image.dtype.name, 'shapes': {split: [lengths[split], *image.shape] for split in SPLITS},
      'nonfinite': {split: _nonfinite(results[split]) for split in SPLITS}})


def _lay_out(folder: Path, split: str, length: int, image: np.ndarray) -> list[Piece]:
  """Makes a split's images.npy, its space reserved, and the pieces that will fill it."""
  folder.mkdir()
  path = folder / 'images.npy'
  with open(path, 'wb') as file:
    np.lib.format.write_array_header_1_0(
        file, {'descr': np.dtype(image.dtype.name).str, 'fortran_order': False,
               'shape': (length, *image.shape)})
    offset = file.tell()
    if hasattr(os, 'posix_fallocate'):
      os.posix_fallocate(file.fileno(), offset, length * image.nbytes)  # a full disk shows now, not after an hour
    else:
      file.truncate(offset + length * image.nbytes)
  step = max(1, min(PIECE_IMAGES, PIECE_BYTES // image.nbytes))
  return [Piece(split, start, min(start + step, length), image.shape, image.dtype.name, str(path), offset)
          for start in range(0, length, step)]


def _nonfinite(results: list[PieceResult]) -> tuple[int, str]:
  first = next((result.first_nonfinite for result in results if result.nonfinite), '')
  return sum(result.nonfinite for result in results), first


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
  """Holds an exclusive lock on a file; the system frees it when this process ends, however it ends."""
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
    shutil.rmtree(folder, ignore_errors=True)  # gone already, by its renaming, where all went well


def _remove_leftovers(cache: Path, own: str) -> None:
  """Removes what killed processes left: unfinished folders of this dataset, locked here, or whose lock is free."""
  for folder in cache.glob(f'{_UNFINISHED}*'):
    mark = folder.name.removeprefix(_UNFINISHED).split('-')[0]
    with open(cache / f'.{mark}.lock', 'w') as file:
      try:
        if mark != own:
          fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        continue
      shutil.rmtree(folder, ignore_errors=True)

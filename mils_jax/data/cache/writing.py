"""Joins the built pieces of a dataset cache: fills pixels without data, drops damaged images, writes the manifest."""

import collections
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from mils_jax.data.cache.dataset import filling, write_manifest
from mils_jax.data.cache.pieces import Piece, PieceResult, fill
from mils_jax.data.moments import Moments
from mils_jax.data.sources.source import Source
from mils_jax.errors import UserError

IMAGES_AT_ONCE = 256  # moved together when damaged ones are left out
SHOWN = 20  # damaged images that are named


def write_dataset(folder: Path, source: Source, built: list[tuple[Piece, PieceResult]], mark: str) -> None:
  """Writes everything beside the images that the pieces have written.

  Args:
    folder: folder of the dataset cache.
    source: source that it is made from.
    built: all pieces and their results, in order.
    mark: fingerprint of the source.

  Raises:
    UserError: a split has no image that can be used, or no training image has a value in one of the channels.
    OSError: the disk is full.
  """
  moments = Moments.none(built[0][0].shape[-1])
  for _, result in built:
    moments = moments.merge(result.moments)
  # Values that are not finite have a message of their own.
  odd = np.sum([result.nonfinite for piece, result in built if piece.split == 'train'], axis=0)
  empty = [name for name, count in zip(source.channels, moments.count + odd, strict=True) if not count]
  if empty:
    raise UserError(f'no training image has any value in the channel {empty[0]}; the channels are called '
                    f'{", ".join(source.channels)}')
  for piece, result in built:
    if result.masked:
      fill(piece, filling(moments.mean, np.dtype(piece.dtype)))
  parts = {split: [(piece, result) for piece, result in built if piece.split == split] for split in source.splits}
  lengths = {split: _write_split(folder / split, split, own) for split, own in parts.items()}
  partial = any(not result.present.all() for _, result in built)
  for split, own in parts.items():
    if partial:
      np.save(folder / split / 'present.npy', _kept('present', own))
  piece = built[0][0]
  # A channel whose values differ by rounding alone has a std of rounding too, which must not scale it.
  largest = np.maximum(np.abs(moments.low), np.abs(moments.high))
  constant = ~((moments.high - moments.low > 1e-6 * largest) & (moments.std > 0))
  write_manifest(folder, {
      'fingerprint': mark, 'settings': source.settings(), 'classes': source.classes, 'channels': source.channels,
      'units': source.units, 'mean': moments.mean.tolist(), 'std': np.where(constant, 1, moments.std).tolist(),
      'low': moments.low.tolist(), 'high': moments.high.tolist(), 'dtype': piece.dtype,
      'shapes': {split: [length, *piece.shape] for split, length in lengths.items()},
      'nonfinite': {split: _nonfinite([result for _, result in own]) for split, own in parts.items()},
      'partial': partial, 'content': _content(source, parts, piece),
      'remarks': _remarks([result for _, result in built])})


def _write_split(folder: Path, split: str, parts: list[tuple[Piece, PieceResult]]) -> int:
  """Writes labels and example_ids, leaves out damaged images, and returns the number of the others."""
  labels = _kept('labels', parts)
  if not len(labels):
    raise UserError(f'the {split} split has no image that can be used; the first: '
                    f'{next(iter(parts[0][1].damaged.values()))}')
  np.save(folder / 'labels.npy', labels)
  np.save(folder / 'example_ids.npy', np.array([name for _, result in parts
                                                for row, name in enumerate(result.example_ids)
                                                if row not in result.damaged]))
  if any(result.damaged for _, result in parts):
    _compact(folder / 'images.npy', np.concatenate([piece.start + _rows(result) for piece, result in parts]))
  return len(labels)


def _rows(result: PieceResult) -> np.ndarray:
  """The rows of a piece that are not damaged."""
  return np.setdiff1d(np.arange(len(result.labels)), list(result.damaged)).astype(int)


def _kept(what: str, parts: list[tuple[Piece, PieceResult]]) -> np.ndarray:
  return np.concatenate([getattr(result, what)[_rows(result)] for _, result in parts])


def _compact(path: Path, rows: np.ndarray) -> None:
  """Keeps only some rows of an .npy."""
  images = np.load(path, mmap_mode='r')
  unfinished = path.with_suffix('.compact')
  kept = np.lib.format.open_memmap(unfinished, 'w+', images.dtype, (len(rows), *images.shape[1:]))
  for start in range(0, len(rows), IMAGES_AT_ONCE):
    kept[start:start + IMAGES_AT_ONCE] = images[rows[start:start + IMAGES_AT_ONCE]]
  kept.flush()
  os.replace(unfinished, path)


def _nonfinite(results: list[PieceResult]) -> tuple[list[int], list[str]]:
  counts = np.sum([result.nonfinite for result in results], axis=0)
  first = [next((one.first_nonfinite[channel] for one in results if one.first_nonfinite[channel]), '')
           for channel in range(len(counts))]
  return counts.tolist(), first


def _content(source: Source, parts: dict[str, list[tuple[Piece, PieceResult]]], piece: Piece) -> str:
  """Digest of what a run sees, independent of the files' names and location."""
  head = [source.classes, source.channels, piece.shape, piece.dtype]
  digest = hashlib.blake2b(json.dumps(head).encode(), digest_size=12)
  for split, own in parts.items():
    digest.update(split.encode())
    digest.update(_kept('labels', own).tobytes())
    digest.update(_kept('digests', own).tobytes())
  return digest.hexdigest()


def _remarks(results: list[PieceResult]) -> list[str]:
  """Lines to print whenever the dataset is opened: what was done with how many images."""
  total = sum(len(result.labels) for result in results)
  counts: collections.Counter = collections.Counter()
  for result in results:
    counts.update(result.remarks)
  lines = [f'{remark} ({number} of {total} images)' for remark, number in counts.items()]
  filled = sum(result.filled for result in results)
  if filled:
    lines.append(f"nodata: {filled} values without data were filled with their channel's mean over the training split")
  without = sum(int((~result.present[_rows(result)].all(1)).sum()) for result in results)
  if without:
    lines.append(f'{without} of {total} images lack some of the channels; these count as missing')
  damaged = [reason for result in results for reason in result.damaged.values()]
  if damaged:
    lines.append(f'{len(damaged)} of {total} images were left out because they cannot be used: {first_of(damaged)}')
  return lines


def first_of(damaged: list[str]) -> str:
  """The first reasons one by one, and how many more there are."""
  more = f'; and {len(damaged) - SHOWN} more' if len(damaged) > SHOWN else ''
  return '; '.join(damaged[:SHOWN]) + more

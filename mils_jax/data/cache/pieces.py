"""Builds one piece of a dataset cache: reads images from the source, checks them and writes them to their file.

The workers import this module, so it imports little: they have to start quickly, and without JAX.
"""

import dataclasses
import os

import numpy as np

from mils_jax.data.moments import Moments
from mils_jax.data.sources.images import strict_warnings
from mils_jax.data.sources.source import Source
from mils_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Piece:
  """Images start..stop of a split, and where they go.

  Attributes:
    split: of the source.
    start, stop: indices in the split.
    shape: (H, W, C) that every image must have.
    dtype: name of the dtype that every image must have.
    path: the .npy file, whose header is already written.
    offset: where the data of the whole split begins in it, in bytes.
  """

  split: str
  start: int
  stop: int
  shape: tuple[int, int, int]
  dtype: str
  path: str
  offset: int


@dataclasses.dataclass(frozen=True)
class PieceResult:
  """What is kept of a piece beside its images.

  Attributes:
    labels: (n,) int32.
    example_ids: one per image.
    moments: of the training images' values, None for other splits.
    nonfinite: number of non-finite values.
    first_nonfinite: place of the first image with such a value, '' without one.
  """

  labels: np.ndarray
  example_ids: list[str]
  moments: Moments | None
  nonfinite: int
  first_nonfinite: str


def build_piece(source: Source, piece: Piece) -> PieceResult:
  """Reads a piece's images and writes them to its file.

  Raises:
    UserError: an image cannot be read, or differs in shape or dtype from the first training image.
    OSError: the disk is full.
  """
  count = piece.stop - piece.start
  images = np.empty((count, *piece.shape), piece.dtype)
  labels = np.empty(count, np.int32)
  example_ids = []
  with strict_warnings():
    for row in range(count):
      image, labels[row] = source.read(piece.split, piece.start + row)
      example_ids.append(source.example_id(piece.split, piece.start + row))
      if image.shape != piece.shape or image.dtype != images.dtype:
        _check_alike(image, piece, source.place(piece.split, piece.start + row))
      images[row] = image
  _write_fully(piece.path, images, piece.offset + piece.start * images[0].nbytes)
  bad = np.zeros(count, np.int64)
  if images.dtype.kind == 'f':
    bad = count_nonfinite(images)
  first = source.place(piece.split, piece.start + int(np.argmax(bad > 0))) if bad.any() else ''
  moments = Moments.of(images) if piece.split == 'train' else None
  return PieceResult(labels, example_ids, moments, int(bad.sum()), first)


def count_nonfinite(images: np.ndarray) -> np.ndarray:
  """(N,) number of non-finite values in each image (N, H, W, C)."""
  return (~np.isfinite(images)).sum((1, 2, 3))


def _check_alike(image: np.ndarray, piece: Piece, place: str) -> None:
  if image.shape[-1] != piece.shape[-1]:
    raise UserError(f'{place}: {image.shape[-1]} channels, but the first training image has {piece.shape[-1]}; '
                    'expected the same in every image')
  if image.shape != piece.shape:
    raise UserError(f'{place}: {image.shape[0]} x {image.shape[1]} pixels, but the first training image has '
                    f'{piece.shape[0]} x {piece.shape[1]}; data.image_size brings all to one size')
  if image.dtype.name != piece.dtype:
    raise UserError(f'{place}: dtype {image.dtype}, but the first training image has {piece.dtype}; '
                    'expected the same in every image')


def _write_fully(path: str, images: np.ndarray, offset: int) -> None:
  data = images.data.cast('B')
  descriptor = os.open(path, os.O_WRONLY)
  try:
    while data:
      written = os.pwrite(descriptor, data, offset)
      data, offset = data[written:], offset + written
  finally:
    os.close(descriptor)

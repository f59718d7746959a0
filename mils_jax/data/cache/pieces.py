"""Builds one piece of a dataset cache: reads images from the source, checks them and writes them to their file.

The workers import this module, so it imports little: they have to start quickly, and without JAX.
"""

import collections
import dataclasses
import hashlib
import os

import numpy as np

from mils_jax.data.moments import Moments
from mils_jax.data.sources.images import decoders_settled
from mils_jax.data.sources.source import Source
from mils_jax.errors import UserError

DIGEST_BYTES = 16  # of each image


@dataclasses.dataclass(frozen=True)
class Piece:
  """Images start..stop of a split, and where they go.

  Attributes:
    split: name of the split.
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

  @property
  def mask_path(self) -> str:
    """Path of the mask of a piece with masked values, until these are filled."""
    return f'{self.path}.{self.start}.mask'


@dataclasses.dataclass(frozen=True)
class PieceResult:
  """What is kept about a piece beside its images.

  Attributes:
    labels: (n,) int32.
    example_ids: one per image.
    digests: (n, DIGEST_BYTES) uint8, of each image's values and mask.
    moments: moments of the training images' values; for other splits those of no image.
    nonfinite: (C,) number of non-finite values of each channel.
    first_nonfinite: per channel, the location of the first image with such a value, '' without one.
    present: (n, C) bool, which channels each image has.
    filled: number of masked values in present channels; they are filled later.
    masked: whether any value is masked.
    remarks: number of images that each remark of the source is about.
    damaged: reason why an image cannot be used, by its row in the piece.
  """

  labels: np.ndarray
  example_ids: list[str]
  digests: np.ndarray
  moments: Moments
  nonfinite: np.ndarray
  first_nonfinite: list[str]
  present: np.ndarray
  filled: int
  masked: bool
  remarks: collections.Counter
  damaged: dict[int, str]


def build_piece(source: Source, piece: Piece) -> PieceResult:
  """Reads a piece's images and writes them to its file. The row of an image that cannot be used stays empty.

  Raises:
    OSError: the disk is full.
  """
  count = piece.stop - piece.start
  images = np.zeros((count, *piece.shape), piece.dtype)
  mask, masked = np.zeros(images.shape, bool), False
  labels = np.zeros(count, np.int32)
  example_ids = []
  remarks: collections.Counter = collections.Counter()
  damaged: dict[int, str] = {}
  with decoders_settled():
    for row in range(count):
      index = piece.start + row
      example_ids.append(source.example_id(piece.split, index))
      try:
        image, labels[row] = source.read(piece.split, index)
        _check(image, piece, source.place(piece.split, index))
      except UserError as error:
        damaged[row] = str(error)
        continue
      remarks.update(source.remarks(piece.split, index))
      if np.ma.is_masked(image):
        mask[row], masked = np.ma.getmaskarray(image), True
        image = np.ma.filled(image, 0)
      images[row] = image
  with open(piece.path, 'r+b') as file:
    file.seek(piece.offset + piece.start * images[0].nbytes)
    file.write(images.data)
  values, present, filled = images, np.ones((count, piece.shape[-1]), bool), 0
  if masked:
    np.packbits(mask).tofile(piece.mask_path)
    values = np.where(mask, np.float32(np.nan), images.astype(np.float32))
    present[:] = ~mask.all((1, 2))
    filled = int((mask & present[:, None, None]).sum())
  good = np.delete(values, list(damaged), axis=0) if damaged else values
  moments = Moments.of(good) if piece.split == 'train' and len(good) else Moments.none(piece.shape[-1])
  nonfinite, first = _nonfinite(images, source, piece)
  return PieceResult(labels, example_ids, _digests(images, mask if masked else None), moments, nonfinite, first,
                     present, filled, masked, remarks, damaged)


def fill(piece: Piece, values: np.ndarray) -> None:
  """Fills the masked values of a piece with their channel's value from (C,), of the images' dtype.

  Raises:
    OSError: the disk is full.
  """
  images = np.load(piece.path, mmap_mode='r+')[piece.start:piece.stop]
  mask = np.unpackbits(np.fromfile(piece.mask_path, np.uint8), count=images.size).view(bool).reshape(images.shape)
  np.copyto(images, values, where=mask)
  images.flush()
  os.remove(piece.mask_path)


def _check(image: np.ndarray, piece: Piece, place: str) -> None:
  """Raises UserError for an image unlike the first training image, or without any data."""
  if image.shape[-1] != piece.shape[-1]:
    raise UserError(f'{place}: {image.shape[-1]} channels, but the first training image has {piece.shape[-1]}; '
                    'expected the same in every image, or data.channel_names that name all there are')
  if image.shape != piece.shape:
    raise UserError(f'{place}: {image.shape[0]} x {image.shape[1]} pixels, but the first training image has '
                    f'{piece.shape[0]} x {piece.shape[1]}; data.image_size brings all to one size')
  if image.dtype.name != piece.dtype:
    raise UserError(f'{place}: dtype {image.dtype}, but the first training image has {piece.dtype}; '
                    'expected the same in every image')
  if np.ma.is_masked(image) and np.ma.getmaskarray(image).all():
    raise UserError(f'{place}: no pixel has any data (data.nodata)')


def _nonfinite(images: np.ndarray, source: Source, piece: Piece) -> tuple[np.ndarray, list[str]]:
  channels = piece.shape[-1]
  if images.dtype.kind != 'f':
    return np.zeros(channels, np.int64), [''] * channels
  bad = (~np.isfinite(images)).sum((1, 2))  # (n, C)
  first = [source.place(piece.split, piece.start + int(np.argmax(bad[:, channel] > 0)))
           if bad[:, channel].any() else '' for channel in range(channels)]
  return bad.sum(0), first


def _digests(images: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
  """(n, DIGEST_BYTES) uint8: of each image's values and, where it has masked ones, its mask."""
  digests = np.empty((len(images), DIGEST_BYTES), np.uint8)
  for row, image in enumerate(images):
    digest = hashlib.blake2b(image.data, digest_size=DIGEST_BYTES)
    if mask is not None and mask[row].any():
      digest.update(np.packbits(mask[row]).data)
    digests[row] = np.frombuffer(digest.digest(), np.uint8)
  return digests

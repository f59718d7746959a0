"""Builds one piece of a dataset cache: reads images from the source, checks them and writes them to their file.

The workers import this module, so it imports little: they have to start quickly, and without JAX.
"""

import collections
import dataclasses
import hashlib
import os

import numpy as np

from mils_jax.data.moments import Moments, extremes
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
    moments: moments of the training images' values, None for other splits.
    low, high: (C,) smallest and largest finite value.
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
  moments: Moments | None
  low: np.ndarray
  high: np.ndarray
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
  masks: dict[int, np.ndarray] = {}
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
        mask = _check(image, piece, source.place(piece.split, index))
      except UserError as error:
        damaged[row] = str(error)
        continue
      remarks.update(source.remarks(piece.split, index))
      images[row] = np.ma.getdata(image)
      if mask is not None:
        images[row][mask] = 0
        masks[row] = mask
  present = np.ones((count, piece.shape[-1]), bool)
  for row, mask in masks.items():
    present[row] = ~mask.all((0, 1))
  _write_fully(piece.path, images, piece.offset + piece.start * images[0].nbytes)
  if masks:
    _write_mask(piece, masks)
  good = np.delete(_masked(images, masks), list(damaged), axis=0) if damaged else _masked(images, masks)
  nonfinite, first = _nonfinite(images, source, piece)
  low, high = extremes(good) if len(good) else (np.full(piece.shape[-1], np.inf), np.full(piece.shape[-1], -np.inf))
  moments = None
  if piece.split == 'train':
    moments = Moments.of(good) if len(good) else Moments.none(piece.shape[-1])
  filled = sum(int(mask[..., present[row]].sum()) for row, mask in masks.items())
  return PieceResult(labels, example_ids, _digests(images, masks), moments, low, high, nonfinite, first, present,
                     filled, bool(masks), remarks, damaged)


def fill(piece: Piece, values: np.ndarray) -> None:
  """Fills the masked values of a piece with their channel's value from (C,), of the images' dtype.

  Raises:
    OSError: the disk is full.
  """
  mask = np.unpackbits(np.fromfile(piece.mask_path, np.uint8), count=(piece.stop - piece.start) * int(
      np.prod(piece.shape))).astype(bool).reshape(-1, *piece.shape)
  images = np.memmap(piece.path, piece.dtype, 'r+', piece.offset + piece.start * int(np.prod(piece.shape)) * np.dtype(
      piece.dtype).itemsize, mask.shape)
  images[...] = np.where(mask, values, images)
  images.flush()
  os.remove(piece.mask_path)


def _check(image: np.ndarray, piece: Piece, place: str) -> np.ndarray | None:
  """The image's mask, None where nothing is masked; raises UserError for an image unlike the first training image."""
  if image.shape[-1] != piece.shape[-1]:
    raise UserError(f'{place}: {image.shape[-1]} channels, but the first training image has {piece.shape[-1]}; '
                    'expected the same in every image, or data.channel_names that name all there are')
  if image.shape != piece.shape:
    raise UserError(f'{place}: {image.shape[0]} x {image.shape[1]} pixels, but the first training image has '
                    f'{piece.shape[0]} x {piece.shape[1]}; data.image_size brings all to one size')
  if image.dtype.name != piece.dtype:
    raise UserError(f'{place}: dtype {image.dtype}, but the first training image has {piece.dtype}; '
                    'expected the same in every image')
  if not isinstance(image, np.ma.MaskedArray):
    return None
  mask = np.ma.getmaskarray(image)
  if mask.all():
    raise UserError(f'{place}: no pixel has any data (data.nodata)')
  return mask if mask.any() else None


def _masked(images: np.ndarray, masks: dict[int, np.ndarray]) -> np.ndarray:
  if not masks:
    return images
  mask = np.zeros(images.shape, bool)
  for row, one in masks.items():
    mask[row] = one
  return np.ma.masked_array(images, mask)


def _nonfinite(images: np.ndarray, source: Source, piece: Piece) -> tuple[np.ndarray, list[str]]:
  channels = piece.shape[-1]
  if images.dtype.kind != 'f':
    return np.zeros(channels, np.int64), [''] * channels
  bad = (~np.isfinite(images)).sum((1, 2))  # (n, C)
  first = [source.place(piece.split, piece.start + int(np.argmax(bad[:, channel] > 0)))
           if bad[:, channel].any() else '' for channel in range(channels)]
  return bad.sum(0), first


def _digests(images: np.ndarray, masks: dict[int, np.ndarray]) -> np.ndarray:
  digests = np.empty((len(images), DIGEST_BYTES), np.uint8)
  for row, image in enumerate(images):
    digest = hashlib.blake2b(image.data, digest_size=DIGEST_BYTES)
    if row in masks:
      digest.update(np.packbits(masks[row]).data)
    digests[row] = np.frombuffer(digest.digest(), np.uint8)
  return digests


def _write_mask(piece: Piece, masks: dict[int, np.ndarray]) -> None:
  mask = np.zeros((piece.stop - piece.start, *piece.shape), bool)
  for row, one in masks.items():
    mask[row] = one
  np.packbits(mask).tofile(piece.mask_path)


def _write_fully(path: str, images: np.ndarray, offset: int) -> None:
  data = images.data.cast('B')
  descriptor = os.open(path, os.O_WRONLY)
  try:
    while data:
      written = os.pwrite(descriptor, data, offset)
      data, offset = data[written:], offset + written
  finally:
    os.close(descriptor)

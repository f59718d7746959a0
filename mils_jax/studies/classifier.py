"""A trained run as a function: pictures and the names of their channels in, class probabilities out."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.channels import check_names, split_names
from mils_jax.data.sources.pictures import resize_square
from mils_jax.errors import UserError
from mils_jax.studies.restored import Restored, restore
from mils_jax.training.run_folder import RunFolder

BATCH = 64  # pictures that are computed at once, at most
LEFT_OUT = '-'  # stands, among names, for a channel of the pictures that goes nowhere

ChannelNames = str | Sequence[str | None] | None


def load_classifier(run: str | os.PathLike) -> 'Classifier':
  """Restores a run's best checkpoint; raises as `restore` does."""
  return Classifier(restore(RunFolder(Path(run))), Path(run))


class Classifier:
  """What a run learned, with its own normalisation.

  Attributes:
    run: its folder.
    classes: name of each class, in the order of the probabilities.
    channels: name of each input slot.
    trained: those of them that the run was given; the others stay absent here as they did there.
    image_size: height and width of the pictures that the network sees.
  """

  def __init__(self, restored: Restored, run: Path):
    contract, model = restored.contract, restored.model
    self.run = run
    self.classes = contract.classes[:model.num_classes]
    self.channels = contract.channels.slots
    self.trained = contract.trained
    self.image_size = contract.image_size
    self._contract = contract.channels
    self._variables = jax.device_put(restored.variables)
    mean, std = (np.array(values, np.float32) for values in (contract.channels.mean, contract.channels.std))

    def probabilities(variables: dict, slots: jax.Array, present: jax.Array) -> jax.Array:
      logits = model.apply(variables, (slots - mean) / std, train=False, present=present)
      return jax.nn.softmax(logits[:, :len(self.classes)].astype(jnp.float32))

    self._probabilities = jax.jit(probabilities)

  def __call__(self, pictures: np.ndarray, channels: ChannelNames = None) -> np.ndarray:
    """Classifies pictures.

    Args:
      pictures: (N, H, W, C), or one of (H, W, C), of any number type, in the units that the model was trained on. Of
        another size than `image_size`, their central squares are resized, as folders of pictures are.
      channels: name of each of their channels, in any order; None (or '-' in a text 'R,-,B') for one that is to be
        left out. Without names they fill the first slots. Slots that get none are absent.

    Returns:
      (N, classes) float32, each row summing to 1. Where a model has more logits than named classes, those beyond
      them, which no label ever was, are left out.

    Raises:
      UserError: a name is unknown, twice there or missing, none is of a trained channel, or the pictures' shape,
        number type or values cannot be used.
    """
    pictures = np.asarray(pictures)
    if pictures.ndim == 3:
      pictures = pictures[None]
    if pictures.ndim != 4:
      raise UserError(f'pictures have the shape {pictures.shape}; expected (N, H, W, C) or (H, W, C)')
    if not len(pictures):
      return np.zeros((0, len(self.classes)), np.float32)
    size = self.batch_size(len(pictures))
    parts = []
    for start in range(0, len(pictures), size):
      placed = [self.place(picture, channels) for picture in pictures[start:start + size]]
      parts.append(self.probabilities(placed, size))
    return np.concatenate([np.asarray(part) for part in parts])[:len(pictures)]

  def absent(self, channels: str | Sequence[str | None]) -> tuple[str, ...]:
    """The slots that stay empty when pictures have these channels; raises UserError as a call does."""
    source = self._source(self._split(channels))
    return tuple(slot for slot, position in zip(self.channels, source, strict=True) if position < 0)

  def batch_size(self, number: int) -> int:
    """The fixed size of the batches for `number` pictures: a power of two, so that few sizes are ever compiled."""
    return min(BATCH, 1 << max(number - 1, 0).bit_length())

  def place(self, picture: np.ndarray, channels: ChannelNames = None) -> tuple[np.ndarray, np.ndarray]:
    """One picture (H, W, C) as the slots' values (height, width, slots) float32, and which have any (slots,)."""
    if picture.dtype.kind not in 'buif' or picture.size == 0:
      raise UserError(f'a picture of shape {picture.shape} and number type {picture.dtype}; expected numbers')
    source = self._source(self._names(channels, picture.shape[-1]))
    present = source >= 0
    taken = self._resize(picture[..., source[present]]).astype(np.float32)
    if not np.isfinite(taken).all():
      bad = ~np.isfinite(taken).all(axis=(0, 1))
      names = [slot for slot, there in zip(self.channels, present, strict=True) if there]
      raise UserError(f'values that are not finite, in channel {names[int(bad.argmax())]}; expected finite numbers, '
                      'or the channel left out')
    slots = np.zeros((*self.image_size, len(source)), np.float32)
    slots[..., present] = taken
    return slots, present

  def probabilities(self, placed: Sequence[tuple[np.ndarray, np.ndarray]], size: int) -> jax.Array:
    """The probabilities (size, classes) of up to `size` placed pictures; rows beyond them mean nothing."""
    slots = np.zeros((size, *self.image_size, len(self.channels)), np.float32)
    present = np.zeros((size, len(self.channels)), bool)
    for row, (values, there) in enumerate(placed):
      slots[row], present[row] = values, there
    return self._probabilities(self._variables, slots, present)

  def _names(self, channels: ChannelNames, count: int) -> list[str | None]:
    """The names of a picture's channels, as many as it has; unnamed ones fill the first slots."""
    if channels is None:
      if count > len(self.channels):
        raise UserError(f'{count} channels without names; the model has {len(self.channels)} slots: '
                        f'{", ".join(self.channels)}')
      return list(self.channels[:count])
    names = self._split(channels)
    if len(names) != count:
      raise UserError(f'{len(names)} channel names ({_listed(names)}) for pictures of {count} channels')
    return names

  def _split(self, channels: str | Sequence[str | None]) -> list[str | None]:
    if isinstance(channels, str):
      channels = split_names(channels, single_letters=all(len(slot) == 1 for slot in self.channels))
    return [None if name == LEFT_OUT else name for name in channels]

  def _source(self, names: list[str | None]) -> np.ndarray:
    """(slots,): the position of each slot's channel among the named ones, -1 where it is absent."""
    if not names:
      raise UserError(f'no channel is named. Valid: {", ".join(self.trained)}')
    check_names([name for name in names if name is not None], 'channel', self.channels)
    trained = [name if name in self.trained else None for name in names]
    if not any(trained):
      raise UserError(f'none of the channels {_listed(names)} is one that the model was trained on: '
                      f'{", ".join(self.trained)}')
    return self._contract.place(trained).source

  def _resize(self, picture: np.ndarray) -> np.ndarray:
    height, width = self.image_size
    if picture.shape[:2] == self.image_size:
      return picture
    if height != width:
      raise UserError(f'a picture of {picture.shape[0]} x {picture.shape[1]}; expected {height} x {width}')
    return resize_square(picture.astype(np.uint8) if picture.dtype == bool else picture, height)


def _listed(names: Sequence[str | None]) -> str:
  return ', '.join(LEFT_OUT if name is None else name for name in names) or 'none'

"""A trained run as a function: images and the names of their channels in, class probabilities out."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.channels import check_names, split_names
from mils_jax.data.inputs import ModelChannels
from mils_jax.data.sources.pixels import resize_square, without_nodata
from mils_jax.errors import UserError
from mils_jax.progress import counted
from mils_jax.restore import Restored, restore
from mils_jax.training.run_folder import RunFolder

BATCH = 64  # most images that are computed at once
LEFT_OUT = '-'  # among names, a channel of the images that is not used

ChannelNames = str | Sequence[str | None] | None


def load_classifier(run: str | os.PathLike) -> 'Classifier':
  """Restores a run's best checkpoint; raises as `restore` does."""
  return Classifier(restore(RunFolder(Path(run))), Path(run))


def not_finite(values: np.ndarray) -> str:
  """Says that the network's outputs for an image of such values are not finite."""
  return f"the network's outputs are not finite: its values go from {values.min():g} to {values.max():g}"


class Classifier:
  """A trained model with its own normalisation.

  Example:
    >>> import mils_jax
    >>> import numpy as np
    >>> classifier = mils_jax.load(folder)  # such as 'runs/task_a', whose input channels are R, G and B
    >>> image = np.full((40, 40, 2), 100, np.uint8)  # (H, W, C), in the units of the training data
    >>> probabilities = classifier(image, channels=['B', 'R'])  # (1, classes)
    >>> best = classifier.classes[probabilities[0].argmax()]
    >>> classifier.missing(['B', 'R'])
    ('G',)

  Attributes:
    run: the run folder.
    classes: name of each class, in the order of the probabilities.
    channels: name of each input channel.
    trained: the input channels that the run used; the others stay missing here too.
    image_size: height and width of the images that the network sees.
    data_channels: all channels of the training data, in their order.
    spec: its input channels: names, units and statistics.
    model_channels: input channels, training channels, and the training files' names for these.
    native: whether the training images were not resized, so that an image of another size may have another resolution.
  """

  def __init__(self, restored: Restored, run: Path):
    spec, model = restored.spec, restored.model
    self.run = run
    self.classes = spec.classes[:model.num_classes]
    self.channels = spec.channels.names
    self.trained = spec.trained
    self.image_size = spec.image_size
    self.data_channels = spec.data_channels
    self.model_channels = ModelChannels(self.channels, spec.data_channels, restored.names_given, spec.stated_channels)
    self.spec = spec.channels
    self.native = not restored.config.data.image_size
    self._nodata = restored.config.data.nodata
    self._warned = False
    self._variables = jax.device_put(restored.variables)
    mean, std = (np.array(values, np.float32)[None, None, None] for values in (spec.channels.mean, spec.channels.std))

    # Not the Evaluator, which shares whole splits among all devices: a call has a few images, for one device.
    def probabilities(variables: dict, inputs: jax.Array, present: jax.Array) -> jax.Array:
      logits = cast(jax.Array, model.apply(variables, (inputs - mean) / std, train=False, present=present))
      return jax.nn.softmax(logits[:, :len(self.classes)].astype(jnp.float32))

    self._probabilities = jax.jit(probabilities)

  def __call__(self, images: np.ndarray, channels: ChannelNames = None) -> np.ndarray:
    """Classifies images.

    Args:
      images: (N, H, W, C), or a single image (H, W, C), of any dtype, in the units that the model was trained on.
        Images of another size than `image_size` have their central squares resized, as in training. Masked values
        have no data: they are filled as in training, and a channel without any is missing.
      channels: name of each of their channels, in any order; None (or '-' in a text 'R,-,B') for one that is to be
        left out. Unnamed channels are those of the training images, in their order, if there are as many; fewer fill
        the first input channels. Input channels without a channel of the images are missing.

    Returns:
      (N, classes) float32, each row summing to 1. Values far from those of the training data give a UserWarning,
      once. Logits beyond the named classes, which no label ever used, are left out.

    Raises:
      UserError: a name is unknown, given twice or missing, none is of a trained channel, or the images' shape,
        dtype or values cannot be used, or are so large that the network's outputs are not finite.
    """
    images = _as_batch(images)
    if not len(images):
      return np.zeros((0, len(self.classes)), np.float32)
    size = self.batch_size(len(images))
    parts = []
    for start in range(0, len(images), size):
      placed = [self.place(image, channels) for image in images[start:start + size]]
      self._warn(placed)
      parts.append(self.probabilities(placed, size))
    return self._checked(np.concatenate([np.asarray(part) for part in parts])[:len(images)], images, channels)

  def _checked(self, found: np.ndarray, images: np.ndarray, channels: ChannelNames) -> np.ndarray:
    if not np.isfinite(found).all():
      row = int(np.isfinite(found).all(axis=1).argmin())
      raise UserError(f'image {row}: {not_finite(self.place(images[row], channels)[0])}')
    return found

  def compiled(self, channels: ChannelNames = None, batch: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """The same function for a service: for one choice of channels and one batch size, already compiled.

    Example:
      >>> import mils_jax
      >>> import numpy as np
      >>> classifier = mils_jax.load(folder)  # such as 'runs/task_a'
      >>> classify = classifier.compiled(channels=['R', 'G'], batch=8)
      >>> images = np.full((3, 40, 40, 2), 100, np.uint8)  # (N <= 8, H, W, 2)
      >>> classify(images).shape == (3, len(classifier.classes))
      True

    Args:
      channels: as in a call; None: all input channels, in their order.
      batch: most images of one call; fewer take the same time. It may be called from several threads.

    Raises:
      UserError: as a call does, for the channels immediately; `batch` is not positive, or more images are given.
    """
    if batch < 1:
      raise UserError(f'batch={batch}: expected a number of images, at least 1')
    names: list[str | None] = [*self.channels] if channels is None else self._split(channels)
    self._source(names)
    self.probabilities([], batch).block_until_ready()  # compiles it

    def classify(images: np.ndarray) -> np.ndarray:
      images = _as_batch(images)
      if len(images) > batch:
        raise UserError(f'{len(images)} images; compiled for at most {batch}')
      if images.shape[-1] != len(names):
        raise UserError(f'images of {counted(images.shape[-1], "channel")}; compiled for {len(names)} '
                        f'({_listed(names)})')
      placed = [self.place(image, names) for image in images]
      self._warn(placed)
      return self._checked(np.asarray(self.probabilities(placed, batch))[:len(images)], images, names)

    return classify

  def missing(self, channels: str | Sequence[str | None]) -> tuple[str, ...]:
    """The input channels that are missing when images have these channels; raises UserError as a call does."""
    source = self._source(self._split(channels))
    return tuple(channel for channel, position in zip(self.channels, source, strict=True) if position < 0)

  def batch_size(self, number: int) -> int:
    """The fixed size of the batches for `number` images: a power of two, so that few sizes are ever compiled."""
    return min(BATCH, 1 << max(number - 1, 0).bit_length())

  def place(self, image: np.ndarray, channels: ChannelNames = None) -> tuple[np.ndarray, np.ndarray]:
    """One image (H, W, C) as the model's C' input channels (height, width, C') float32, and which are present (C',)."""
    if image.dtype.kind not in 'buif' or image.size == 0:
      raise UserError(f'an image of shape {image.shape} and dtype {image.dtype}; expected numbers')
    source = self._source(self._names(channels, image.shape[-1]))
    present = source >= 0
    taken = self._resize(without_nodata(image[..., source[present]], self._nodata)).astype(np.float32)
    if isinstance(taken, np.ma.MaskedArray):
      empty = np.ma.getmaskarray(taken)
      fill = np.array(self.spec.fill or self.spec.mean, np.float32)  # as in training
      taken = np.where(empty, fill[None, None, present], taken.data)
      taken, present[present] = taken[..., ~empty.all((0, 1))], ~empty.all((0, 1))
      if not present.any():
        raise UserError('no pixel has any data (data.nodata)')
    if not np.isfinite(taken).all():
      bad = ~np.isfinite(taken).all(axis=(0, 1))
      names = [channel for channel, there in zip(self.channels, present, strict=True) if there]
      raise UserError(f'non-finite values, in channel {names[int(bad.argmax())]}; expected finite numbers, '
                      'or the channel left out')
    inputs = np.zeros((*self.image_size, len(source)), np.float32)
    inputs[..., present] = taken
    return inputs, present

  def _warn(self, placed: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    for inputs, present in placed:
      found = '' if self._warned else self.spec.unusual(inputs, present)
      if found:
        self._warned = True
        there = inputs[..., present]
        warnings.warn(f'{found} They go from {there.min():g} to {there.max():g}', stacklevel=3)

  def probabilities(self, placed: Sequence[tuple[np.ndarray, np.ndarray]], size: int) -> jax.Array:
    """The probabilities (size, classes) of up to `size` placed images; rows beyond them mean nothing."""
    inputs = np.zeros((size, *self.image_size, len(self.channels)), np.float32)
    present = np.zeros((size, len(self.channels)), bool)
    for row, (values, there) in enumerate(placed):
      inputs[row], present[row] = values, there
    return self._probabilities(self._variables, inputs, present)

  def _names(self, channels: ChannelNames, count: int) -> list[str | None]:
    """The names of an image's channels, as many as it has; unnamed channels are treated as in a call."""
    if channels is None and count == len(self.data_channels):  # as the training images have them
      return [name if name in self.channels else None for name in self.data_channels]
    if channels is None:
      if count > len(self.channels):
        raise UserError(f'{count} channels without names; the model has '
                        f'{counted(len(self.channels), "input channel")}: {", ".join(self.channels)}')
      return list(self.channels[:count])
    names = self._split(channels)
    if len(names) != count:
      raise UserError(f'{counted(len(names), "channel name")} ({_listed(names)}) for images of '
                      f'{counted(count, "channel")}')
    return names

  def _split(self, channels: str | Sequence[str | None]) -> list[str | None]:
    if isinstance(channels, str):
      channels = split_names(channels, single_letters=all(len(channel) == 1 for channel in self.channels))
    return [None if name == LEFT_OUT else name for name in channels]

  def _source(self, names: list[str | None]) -> np.ndarray:
    """(inputs,) index of each input channel among the named ones, -1 where it is missing."""
    if not names:
      raise UserError(f'no channel is named. Valid: {", ".join(self.trained)}')
    check_names([name for name in names if name is not None], 'channel', self.channels)
    trained = [name if name in self.trained else None for name in names]
    if not any(trained):
      raise UserError(f'none of the channels {_listed(names)} is one that the model was trained on: '
                      f'{", ".join(self.trained)}')
    return self.spec.map_from(trained).source

  def _resize(self, image: np.ndarray) -> np.ndarray:
    height, width = self.image_size
    if image.shape[:2] == self.image_size:
      return image
    if height != width:
      raise UserError(f'an image of {image.shape[0]} x {image.shape[1]}; expected {height} x {width}')
    return resize_square(image.astype(np.uint8) if image.dtype == bool else image, height)


def _as_batch(images: np.ndarray) -> np.ndarray:
  """Images as (N, H, W, C), a single one too; raises UserError for any other shape."""
  images = np.asanyarray(images) if np.ma.is_masked(images) else np.asarray(images)
  if images.ndim not in (3, 4):
    raise UserError(f'images have the shape {images.shape}; expected (N, H, W, C) or (H, W, C)')
  return images if images.ndim == 4 else images[None]


def _listed(names: Sequence[str | None]) -> str:
  return ', '.join(LEFT_OUT if name is None else name for name in names) or 'none'

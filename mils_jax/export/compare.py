"""Compares an export with its model: the largest difference of logits on the same images."""

import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.errors import RunError, UserError
from mils_jax.export.function import PRECISION, ExportedModel, Logits
from mils_jax.progress import log
from mils_jax.restore import open_fitting_data
from mils_jax.run_config import RunConfig

BATCHES = (1, 2, 5)
LIMIT = 1e-4  # largest allowed difference, relative to the largest logit


@dataclasses.dataclass(frozen=True)
class ProbeImages:
  """Images that the model has not been trained on.

  Attributes:
    images: (N, H, W, D) with N the largest of `BATCHES`, in the units of the data.
    channels: the input channel of each of the D channels, None where the model has none for it.
    present: (N, D) bool, which channels each image has.
    origin: where they come from, for messages.
  """

  images: np.ndarray
  channels: tuple[str | None, ...]
  present: np.ndarray
  origin: str


@dataclasses.dataclass(frozen=True)
class Comparison:
  """The difference between an export and its model.

  Attributes:
    origin: origin of the images.
    subsets: subsets of the channels that were present, all of them first.
    difference: largest difference of two logits.
    relative: largest difference relative to the largest logit of the same batch.
  """

  origin: str
  subsets: tuple[tuple[str, ...], ...]
  difference: float
  relative: float

  def to_json(self) -> dict[str, Any]:
    return {'images': self.origin, 'batches': list(BATCHES), 'channels': [list(subset) for subset in self.subsets],
            'largest_difference': self.difference, 'largest_relative_difference': self.relative, 'limit': LIMIT}

  def __str__(self) -> str:
    subsets = '; '.join(', '.join(subset) for subset in self.subsets)
    return (f'largest difference of a logit {self.difference:.2g}, relative {self.relative:.2g} (at most {LIMIT:g}), '
            f'on {self.origin}, in batches of {", ".join(map(str, BATCHES))}, with channels {subsets}')


def open_images(model: ExportedModel, config: RunConfig) -> ProbeImages:
  """The first test images of the run's data; where the data no longer exists, values drawn from its statistics."""
  restored = model.restored
  number = max(BATCHES)
  try:
    data = open_fitting_data(restored, config, only_own=True)
  except UserError as error:
    log(f"the run's own data is not there: {error}")
    return _drawn(model, number)
  test = data.data.splits['test']
  rows = np.arange(number) % len(test)
  images = np.asarray(test.images[rows])
  present = np.ones((number, images.shape[-1]), bool) if test.present is None else np.asarray(test.present[rows])
  channels = tuple(name if name in data.channels else None for name in data.data.channels)
  return ProbeImages(images, channels, present, f'{min(number, len(test))} test images')


def _drawn(model: ExportedModel, number: int) -> ProbeImages:
  spec = model.restored.spec.channels
  mean, std = (np.array(values)[None, None, None] for values in (spec.mean, spec.std))
  images = np.random.default_rng(0).normal(mean, std, (number, *model.image_shape)).astype(np.float32)
  names = tuple(name if name in model.restored.spec.trained else None for name in spec.names)
  return ProbeImages(images, names, np.ones((number, len(names)), bool),
                    "values drawn by the channels' mean and std, since the run's own data was not there")


def compare(model: ExportedModel, exported: Logits, images: ProbeImages) -> Comparison:
  """Runs both on the same images, with every batch size, with all channels and with two subsets of them.

  The model's input is arranged and normalised by this program itself, not by the exported function.

  Raises:
    RunError: the logits differ by more than `LIMIT`.
  """
  spec = model.restored.spec
  mapping = spec.channels.map_from(images.channels)
  apply = jax.jit(lambda placed, present: model.as_trained.apply(model.restored.variables, placed, train=False,
                                                                 present=present))
  subsets = subsets_of(tuple(name for name in spec.channels.names if name in images.channels))
  differences, relative = [], []
  with _on_cpu(), jax.default_matmul_precision(PRECISION):
    for subset in subsets:
      given = images.present & np.isin([name or '' for name in images.channels], subset)[None]
      placed = mapping.apply(jnp.asarray(images.images), jnp.asarray(given))
      expected = np.asarray(apply(*placed))[:, :len(model.classes)]
      inputs, present = _as_exported(images.images, given, mapping.source)
      for batch in BATCHES:
        found = exported(inputs[:batch], present[:batch])
        largest = float(np.abs(found - expected[:batch]).max())
        differences.append(largest)
        relative.append(largest / float(np.abs(expected[:batch]).max()))
  comparison = Comparison(images.origin, subsets, max(differences), max(relative))
  if not all(one <= LIMIT for one in relative):  # not for NaN
    raise RunError(f'the export does not compute what the model does: {comparison}. Nothing was kept')
  return comparison


def subsets_of(channels: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
  """All channels, the first alone, and all but the first; with a single channel, only that."""
  return (channels, channels[:1], channels[1:]) if len(channels) > 1 else (channels,)


def _as_exported(images: np.ndarray, given: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The images (N, H, W, C) in the model's channels, with NaN in missing ones, and which are present (N, C)."""
  present = given[:, np.maximum(source, 0)] & (source >= 0)[None]
  taken = images[..., np.maximum(source, 0)].astype(np.float32)
  return np.where(present[:, None, None], taken, np.float32(np.nan)), present


def _on_cpu() -> contextlib.AbstractContextManager:
  """Computes on the CPU where JAX may use it, for the same precision as the export."""
  try:
    return jax.default_device(jax.devices('cpu')[0])
  except RuntimeError:
    return contextlib.nullcontext()

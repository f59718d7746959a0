"""A model over a whole split: the logits of every example, in the split's own order."""

import dataclasses
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from flax import linen as nn
from jax import lax

from mils_jax.channels import ChannelMapping
from mils_jax.data.cache.dataset import Split
from mils_jax.data.loader import EvaluationOrder, OnDevice, OnHost
from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.files import replaced
from mils_jax.metrics import Accuracy, Scores
from mils_jax.progress import bar


@dataclasses.dataclass(frozen=True)
class Predictions:
  """What a model said of each example.

  Attributes:
    example_ids: (N,) strings that name the examples, whatever size or channels were asked for.
    labels: (N,) int32.
    logits: (N, classes) float32.
  """

  example_ids: np.ndarray
  labels: np.ndarray
  logits: np.ndarray

  @cached_property
  def scores(self) -> Scores:
    """Every score of these predictions."""
    return Scores(self.labels, self.logits)

  @property
  def correct(self) -> np.ndarray:
    """(N,) bool."""
    return self.scores.predicted == self.labels

  @property
  def accuracy(self) -> Accuracy:
    return self.scores.accuracy

  @property
  def balanced_accuracy(self) -> float:
    return self.scores.balanced_accuracy

  @property
  def loss(self) -> float:
    return self.scores.loss

  def save(self, path: Path) -> None:
    """Writes example_id, label and logits, whole or not at all."""
    with replaced(path) as unfinished, unfinished.open('wb') as file:
      np.savez(file, example_id=self.example_ids, label=self.labels, logits=self.logits)

  @classmethod
  def load(cls, path: Path) -> 'Predictions':
    """Reads what `save` wrote; raises OSError, ValueError, KeyError or zipfile.BadZipFile where it is not whole."""
    with np.load(path, allow_pickle=False) as saved:
      ids = saved['example_id'] if 'example_id' in saved else saved['identity']  # as they were called before schema 2
      return cls(ids, saved['label'], saved['logits'])


class Evaluator:
  """Applies one model to splits, on all devices, in batches of one fixed size.

  Args:
    model: a network of mils_jax.models.
    mapping: of the data's channels in the model's in_channels.
    devices: those that share each batch.
    batch_size: of all devices together.
  """

  def __init__(self, model: nn.Module, mapping: ChannelMapping, devices: Devices, batch_size: int):
    self._batch_size = batch_size

    self._all_channels = np.ones(len(mapping.source), bool)

    def logits(variables: dict, keep: jax.Array, batch: dict) -> jax.Array:
      images, present = mapping.apply(batch['image'])
      own = model.apply(variables, images, train=False, present=present & keep)
      return lax.all_gather(own, AXIS, tiled=True)  # (B, classes), on every device of every process

    self._logits = devices.parallel(logits, replicated=2, shared=1)

  def __call__(self, variables: dict, split: Split, batches: OnDevice | OnHost, description: str,
               keep: np.ndarray | None = None) -> Predictions:
    """The predictions for every example of a split, each once; the same on all processes.

    Args:
      variables: of the model, on every device.
      split: for its example_ids and labels.
      batches: of the same split.
      description: shown while it goes on.
      keep: (in_channels,) bool, the others count as missing; None: all. Every choice runs the same compiled program.
    """
    number = len(split.labels)
    keep = self._all_channels if keep is None else keep
    order = EvaluationOrder(number, self._batch_size)
    parts: list[jax.Array] = []
    with bar(description, number) as advance:
      for batch in batches.batches(order, 0, order.steps_per_epoch):
        if len(parts) >= 2:  # two batches are under way at most; their results are read meanwhile
          parts[-2] = np.asarray(parts[-2])
        parts.append(self._logits(variables, keep, batch))  # (B, classes)
        advance(min(self._batch_size, number - (len(parts) - 1) * self._batch_size))
    logits = np.concatenate([np.asarray(part) for part in parts])[:number]
    return Predictions(split.example_ids, np.asarray(split.labels), logits)

"""A model over a whole split: the logits of every example, in the split's own order."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from flax import linen as nn
from scipy.special import logsumexp

from mils_jax.channels import Placement
from mils_jax.data.batches import EvaluationOrder, Resident, Streamed
from mils_jax.data.packing import Split
from mils_jax.devices import Devices
from mils_jax.evaluation.statistics import Accuracy
from mils_jax.files import replaced
from mils_jax.progress import bar


@dataclasses.dataclass(frozen=True)
class Predictions:
  """What a model said of each example.

  Attributes:
    identities: (N,) strings that name the examples, whatever size or channels were asked for.
    labels: (N,) int32.
    logits: (N, classes) float32.
  """

  identities: np.ndarray
  labels: np.ndarray
  logits: np.ndarray

  @property
  def accuracy(self) -> Accuracy:
    return Accuracy(int((self.logits.argmax(axis=1) == self.labels).sum()), len(self.labels))

  @property
  def balanced_accuracy(self) -> float:
    """Mean over the classes that occur of the share of each one's examples that are correct."""
    correct = self.logits.argmax(axis=1) == self.labels
    return float(np.mean([correct[self.labels == label].mean() for label in np.unique(self.labels)]))

  @property
  def loss(self) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    logits = self.logits.astype(np.float64)
    of_label = np.take_along_axis(logits, self.labels[:, None], axis=1)[:, 0]
    return float((logsumexp(logits, axis=1) - of_label).mean())

  def save(self, path: Path) -> None:
    """Writes identity, label and logits, whole or not at all."""
    with replaced(path) as unfinished, unfinished.open('wb') as file:
      np.savez(file, identity=self.identities, label=self.labels, logits=self.logits)


class Evaluator:
  """Applies one model to splits, on all devices, in batches of one fixed size.

  Args:
    model: a network of mils_jax.models.
    placement: of the data's channels in the model's slots.
    devices: those that share each batch.
    batch_size: of all devices together.
  """

  def __init__(self, model: nn.Module, placement: Placement, devices: Devices, batch_size: int):
    self._batch_size = batch_size

    def logits(variables: dict, batch: dict) -> jax.Array:
      images, present = placement.apply(batch['image'])
      return model.apply(variables, images, train=False, present=present)

    self._logits = devices.parallel(logits, replicated=1, shared=1, gather=True)

  def __call__(self, variables: dict, split: Split, batches: Resident | Streamed, description: str) -> Predictions:
    """The predictions for every example of a split, each once.

    Args:
      variables: of the model, on every device.
      split: for its identities and labels.
      batches: of the same split.
      description: shown while it goes on.
    """
    number = len(split.labels)
    order = EvaluationOrder(number, self._batch_size)
    parts: list[jax.Array] = []
    with bar(description, number) as advance:
      for batch in batches.batches(order, 0, order.steps_per_epoch):
        if len(parts) >= 2:  # two batches are under way at most; their results are read meanwhile
          parts[-2] = np.asarray(parts[-2])
        parts.append(self._logits(variables, batch))  # (devices, B / devices, classes)
        advance(min(self._batch_size, number - (len(parts) - 1) * self._batch_size))
    logits = np.concatenate([np.asarray(part).reshape(self._batch_size, -1) for part in parts])[:number]
    return Predictions(split.identities, np.asarray(split.labels), logits)

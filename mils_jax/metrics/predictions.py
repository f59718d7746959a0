"""Predictions of a model on a whole split: the logits of every example, in the split's own order."""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from flax import linen as nn
from jax import lax

from mils_jax.channels import ChannelMapping
from mils_jax.data.cache.dataset import Split
from mils_jax.data.loader import OnDevice, OnHost
from mils_jax.data.order import EvaluationOrder, local_share
from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.files import replaced
from mils_jax.metrics import Accuracy, Scores
from mils_jax.progress import bar, log
from mils_jax.schema import upgraded_predictions


@dataclasses.dataclass(frozen=True)
class Predictions:
  """A model's predictions of a set of examples.

  Attributes:
    example_ids: (N,) strings that identify the examples, whatever size or channels were used.
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
    """(N,) bool: which predictions are correct."""
    return self.scores.predicted == self.labels

  @property
  def accuracy(self) -> Accuracy:
    """Share of correctly predicted examples, with its interval."""
    return self.scores.accuracy

  @property
  def balanced_accuracy(self) -> float:
    """Mean of the accuracies of the classes."""
    return self.scores.balanced_accuracy

  @property
  def loss(self) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    return self.scores.loss

  @classmethod
  def of_all(cls, parts: Sequence['Predictions']) -> 'Predictions':
    """Concatenates the predictions of several sets of examples."""
    return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(cls)))

  def save(self, path: Path) -> None:
    """Writes example_id, label and logits atomically."""
    with replaced(path) as unfinished, unfinished.open('wb') as file:
      np.savez(file, example_id=self.example_ids, label=self.labels, logits=self.logits)

  @classmethod
  def load(cls, path: Path) -> 'Predictions':
    """Reads what `save` wrote; raises OSError, ValueError, KeyError or zipfile.BadZipFile where it is incomplete."""
    with np.load(path, allow_pickle=False) as saved:
      arrays = upgraded_predictions(saved)
    return cls(arrays['example_id'], arrays['label'], arrays['logits'])


class Evaluator:
  """Applies one model to splits, on all devices, in batches of one fixed size.

  One compiled program serves every split and every choice of channels.

  Args:
    model: a network of mils_jax.models.
    mapping: mapping of the data's channels in the model's in_channels.
    devices: devices that share each batch.
    batch_size: smallest batch size of all devices together.
    forward: (variables, images, present, *settings) -> a tree of arrays (B, ...); None: the model's logits.
    settings: number of settings that `forward` takes.
  """

  def __init__(self, model: nn.Module, mapping: ChannelMapping, devices: Devices, batch_size: int,
               forward: Callable | None = None, settings: int = 0):
    self._batch_size = -(-batch_size // devices.count) * devices.count  # equal shares for the devices
    self._all_channels = np.ones(len(mapping.source), bool)

    def logits(variables: dict, images: jax.Array, present: jax.Array) -> jax.Array:
      return cast(jax.Array, model.apply(variables, images, train=False, present=present))

    forward = forward or logits

    def outputs(variables: dict, *rest: Any) -> Any:
      *given, keep, batch = rest
      images, present = mapping.apply(batch['image'], batch.get('present'))
      own = forward(variables, images, present & keep, *given)
      return lax.all_gather(own, AXIS, tiled=True)  # (B, ...), on every device of every process

    self._devices = devices
    self._outputs = devices.parallel(outputs, replicated=1 + settings, shared=2)

  def __call__(self, variables: dict, split: Split, batches: OnDevice | OnHost, description: str,
               keep: np.ndarray | None = None) -> Predictions:
    """The predictions for every example of a split, each once; the same on all processes.

    Args:
      variables: variables of the model, on every device.
      split: split with the example_ids and labels.
      batches: batches of the same split.
      description: text of the progress bar.
      keep: (in_channels,) or (examples, in_channels) bool, which channels are kept, the others count as missing; None:
        all.
    """
    parts = []
    with bar(description, len(split.labels)) as advance:
      for part in self.outputs(variables, np.arange(len(split.labels), dtype=np.int32), batches, keep):
        parts.append(part)  # (<= B, classes)
        advance(len(part))
    predictions = Predictions(split.example_ids, np.asarray(split.labels), np.concatenate(parts))
    wrong = np.flatnonzero(~predictions.scores.finite)
    if len(wrong):
      log(f"the network's outputs are not finite for {len(wrong)} of {len(split.labels)} images, such as "
          f'{split.example_ids[wrong[0]]}: each counts as wrong; their values may be far from those of the others')
    return predictions

  def outputs(self, variables: dict, rows: np.ndarray, batches: OnDevice | OnHost, keep: np.ndarray | None = None,
              *settings: Any) -> Iterator[Any]:
    """Results of `forward` for some examples of a split, batch by batch, on the host and without padding.

    Args:
      variables: variables of the model, on every device.
      rows: (N,) int32, the examples in the wanted order.
      batches: batches of the split.
      keep: (in_channels,) bool, or (N, in_channels) where the examples differ, which channels are kept; the others
        count as missing. None: all.
      *settings: further arguments of `forward` after variables, images and presence, the same for every example.
    """
    keep = np.broadcast_to(self._all_channels if keep is None else keep, (len(rows), len(self._all_channels)))
    positions = EvaluationOrder(len(rows), self._batch_size)

    def order(step: int) -> tuple[np.ndarray, np.ndarray]:
      chosen, mask = positions(step)
      return rows[chosen], mask

    def kept(step: int) -> jax.Array:
      chosen, _ = positions(step)
      return self._devices.share(local_share(keep[chosen]))

    under_way: collections.deque = collections.deque()
    for step, batch in enumerate(batches.batches(order, 0, positions.steps_per_epoch)):
      if len(under_way) == 2:  # at most two batches are in flight while results are read
        yield _on_host(*under_way.popleft())
      under_way.append((self._outputs(variables, *settings, kept(step), batch), len(rows) - step * self._batch_size))
    for results, left in under_way:
      yield _on_host(results, left)


def _on_host(results: Any, count: int) -> Any:
  """The first `count` examples of each array, or all where there are fewer."""
  return jax.tree.map(lambda result: np.asarray(result)[:count], results)

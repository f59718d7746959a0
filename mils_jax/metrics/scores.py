"""The scores of a set of logits that the reports show."""

import dataclasses
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from mils_jax.metrics.accuracy import Accuracy
from mils_jax.metrics.calibration import Calibration


@dataclasses.dataclass(frozen=True)
class Scores:
  """Scores of one set of predictions; each is computed on access.

  Attributes:
    labels: (N,) integers.
    logits: (N, classes).
  """

  labels: np.ndarray
  logits: np.ndarray

  @cached_property
  def predicted(self) -> np.ndarray:
    """(N,) class with the highest logit, the first among equals; of logits that are not finite, a wrong one."""
    return np.where(self.finite, self.logits.argmax(axis=1), (self.labels + 1) % self.logits.shape[1])

  @cached_property
  def finite(self) -> np.ndarray:
    """(N,) bool: whether all logits of an example are finite numbers."""
    return np.asarray(np.isfinite(self.logits).all(axis=1))

  @property
  def accuracy(self) -> Accuracy:
    """Share of the examples whose predicted class is the label."""
    return Accuracy.of(self.predicted == self.labels)

  def top(self, k: int) -> Accuracy:
    """Share of examples whose label is among the k highest logits; ties go to the lower class number."""
    highest = np.argsort(-self.logits, axis=1, kind='stable')[:, :k]
    return Accuracy.of((highest == self.labels[:, None]).any(axis=1) & self.finite)

  @cached_property
  def confusion(self) -> np.ndarray:
    """(classes, classes) number of examples by label and by predicted class."""
    classes = self.logits.shape[1]
    cell = self.labels.astype(np.int64) * classes + self.predicted
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)

  @property
  def by_class(self) -> dict[int, Accuracy]:
    """The accuracy of each class that occurs, by its number."""
    return {int(label): Accuracy.of(self.predicted[self.labels == label] == label) for label in np.unique(self.labels)}

  @property
  def balanced_accuracy(self) -> float:
    """Mean of the accuracies of the classes that occur."""
    total = self.confusion.sum(axis=1)
    return float(np.mean(self.confusion.diagonal()[total > 0] / total[total > 0]))

  @property
  def macro_f1(self) -> float:
    """Mean over the classes that occur in labels or predictions of F1, the harmonic mean of precision and recall."""
    total = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
    return float(np.mean(2 * self.confusion.diagonal()[total > 0] / total[total > 0]))

  @property
  def loss(self) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    of_label = np.take_along_axis(self._log_probabilities, self.labels[:, None], axis=1)[:, 0]
    return float(-of_label.mean())

  @property
  def brier(self) -> float:
    """Mean squared distance of the probabilities from the label's one-hot vector: 0 is best, 2 worst.

    "Verification of forecasts expressed in terms of probability" (Brier, Monthly Weather Review, 1950,
    https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2).
    """
    distance = np.exp(self._log_probabilities)
    distance[np.arange(len(self.labels)), self.labels] -= 1
    return float((distance ** 2).sum(axis=1).mean())

  @property
  def calibration(self) -> Calibration:
    """Confidence against accuracy, in 15 bins, of the examples with finite logits."""
    return Calibration.of(np.exp(self._log_probabilities[self.finite]), self.labels[self.finite])

  @cached_property
  def _log_probabilities(self) -> np.ndarray:
    logits = self.logits.astype(np.float64)
    return logits - logsumexp(logits, axis=1, keepdims=True)

  def to_json(self) -> dict:
    """The accuracy's count and interval, and every other score."""
    return {**self.accuracy.to_json(), 'balanced_accuracy': self.balanced_accuracy, 'macro_f1': self.macro_f1,
            'top_5': self.top(5).rate, 'loss': self.loss, 'brier': self.brier,
            'calibration_error': self.calibration.error}

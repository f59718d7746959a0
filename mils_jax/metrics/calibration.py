"""Whether a model is right as often as its probabilities promise."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Confidence against accuracy in bins of equal width (Guo et al., "On Calibration of Modern Neural Networks", 2017).

  Attributes:
    weight: (bins,) sum of the examples' weights; their number where all weigh 1.
    confidence: (bins,) mean probability of the predicted class; nan in an empty bin.
    accuracy: (bins,) share that was right; nan in an empty bin.
  """

  weight: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray

  @classmethod
  def of(cls, probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None,
         bins: int = 15) -> 'Calibration':
    """Bin i holds confidences in (i / bins, (i + 1) / bins].

    Args:
      probabilities: (N, classes).
      labels: (N,) integers.
      weights: (N,), not negative; None: all alike.
      bins: how many; 15 in Guo et al.
    """
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.arange(1, bins) / bins
    bin_of = np.searchsorted(edges, confidence, side='left')  # on an edge: the bin below
    total = np.bincount(bin_of, weights, bins)
    with np.errstate(invalid='ignore'):
      return cls(total, np.bincount(bin_of, weights * confidence, bins) / total,
                 np.bincount(bin_of, weights * correct, bins) / total)

  @property
  def error(self) -> float:
    """Expected calibration error: the mean distance between confidence and accuracy, by weight of the bins."""
    filled = self.weight > 0
    return float(np.average(np.abs(self.confidence - self.accuracy)[filled], weights=self.weight[filled]))

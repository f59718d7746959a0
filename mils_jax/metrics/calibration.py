"""Calibration: whether a model is correct as often as its probabilities promise."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Confidence against accuracy in bins of equal width.

  "On Calibration of Modern Neural Networks" (Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599).

  Attributes:
    count: (bins,) number of examples.
    confidence: (bins,) mean probability of the predicted class; nan in an empty bin.
    accuracy: (bins,) share of correct predictions; nan in an empty bin.
  """

  count: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray

  @classmethod
  def of(cls, probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> 'Calibration':
    """Computes the calibration; bin i holds confidences in (i / bins, (i + 1) / bins].

    Args:
      probabilities: (N, classes).
      labels: (N,) integers.
      bins: number of bins; 15 in the paper.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.arange(1, bins) / bins
    bin_of = np.searchsorted(edges, confidence, side='left')  # an edge belongs to the bin below
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid='ignore'):
      return cls(count, np.bincount(bin_of, confidence, bins) / count, np.bincount(bin_of, correct, bins) / count)

  @property
  def error(self) -> float:
    """Expected calibration error (ECE): mean distance of confidence and accuracy, by the examples of each bin."""
    filled = self.count > 0
    return float(np.average(np.abs(self.confidence - self.accuracy)[filled], weights=self.count[filled]))

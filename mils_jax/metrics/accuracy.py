"""Accuracy with its interval, computed from a count of correct predictions."""

import dataclasses
import math

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class Accuracy:
  """Correct predictions among all, with the Wilson score interval of the rate.

  "Probable Inference, the Law of Succession, and Statistical Inference" (Wilson, Journal of the American Statistical
  Association, 1927, https://doi.org/10.1080/01621459.1927.10502953).

  Attributes:
    correct: number of correct predictions; a fraction where several runs are averaged.
    count: number of examples, above 0.
  """

  correct: float
  count: int

  @classmethod
  def of(cls, correct: np.ndarray) -> 'Accuracy':
    """The accuracy of predictions, from (N,) bools: which are correct."""
    return cls(int(np.sum(correct)), len(correct))

  @property
  def rate(self) -> float:
    """Share of correct predictions, in [0, 1]."""
    return self.correct / self.count

  def interval(self, confidence: float = 0.95) -> tuple[float, float]:
    """Lower and upper end of the interval, in [0, 1]."""
    z = float(-special.ndtri((1 - confidence) / 2))
    shrunk = 1 + z * z / self.count
    centre = (self.rate + z * z / (2 * self.count)) / shrunk
    half = z / shrunk * math.sqrt(self.rate * (1 - self.rate) / self.count + z * z / (4 * self.count ** 2))
    low = centre - half if self.correct > 0 else 0.0
    high = centre + half if self.correct < self.count else 1.0
    return max(low, 0.0), min(high, 1.0)

  def __str__(self) -> str:
    low, high = self.interval()
    correct, count = (f'{round(number, 2):.15g}' for number in (self.correct, self.count))
    return f'{self.rate:.2%} ({correct} of {count}; 95% interval {low:.1%} to {high:.1%})'

  def to_json(self) -> dict:
    """The count, the rate and its interval."""
    low, high = self.interval()
    return {'correct': self.correct, 'count': self.count, 'rate': self.rate, 'wilson_95': [low, high]}

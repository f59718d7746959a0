"""What a count of correct answers can carry."""

import dataclasses

from scipy import stats


@dataclasses.dataclass(frozen=True)
class Accuracy:
  """Correct answers among all, with the Wilson score interval (Wilson, 1927) of the rate.

  Attributes:
    correct: number of correct answers.
    count: number of examples, at least 1.
  """

  correct: int
  count: int

  @property
  def rate(self) -> float:
    return self.correct / self.count

  def interval(self, confidence: float = 0.95) -> tuple[float, float]:
    """Lower and upper end, in [0, 1]."""
    interval = stats.binomtest(self.correct, self.count).proportion_ci(confidence, method='wilson')
    return float(interval.low), float(interval.high)

  def __str__(self) -> str:
    low, high = self.interval()
    return f'{self.rate:.2%} ({self.correct} of {self.count}; 95 % interval {low:.1%} to {high:.1%})'

  def to_json(self) -> dict:
    low, high = self.interval()
    return {'correct': self.correct, 'count': self.count, 'rate': self.rate, 'wilson_95': [low, high]}

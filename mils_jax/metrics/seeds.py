"""Statistics of several runs of one configuration, and of several comparisons in one table."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class SeedSpread:
  """The spread of results of runs that differ only in their seed, all tested on the same examples.

  Attributes:
    values: one result per run.
  """

  values: tuple[float, ...]

  @property
  def mean(self) -> float:
    """Mean over the runs."""
    return float(np.mean(self.values))

  @property
  def std(self) -> float:
    """Sample standard deviation (n - 1 in the denominator); nan for one run."""
    return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan

  def interval(self, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean over all seeds, on the same test examples; nan for one run."""
    if len(self.values) < 2:
      return math.nan, math.nan
    count = len(self.values)
    half = float(-special.stdtrit(count - 1, (1 - confidence) / 2)) * self.std / math.sqrt(count)
    return self.mean - half, self.mean + half


def holm(p_values: Sequence[float]) -> list[float]:
  """P values adjusted for the number of tests by Holm's step-down method, in the given order.

  "A Simple Sequentially Rejective Multiple Test Procedure" (Holm, Scandinavian Journal of Statistics, 1979,
  https://www.jstor.org/stable/4615733).
  """
  adjusted, highest = [0.0] * len(p_values), 0.0
  for rank, index in enumerate(np.argsort(p_values, kind='stable')):
    highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
    adjusted[index] = highest
  return adjusted

"""Paired comparisons of two models: the difference, its uncertainty, and the smallest detectable difference."""

import dataclasses
import math

import numpy as np
from scipy import special

from mils_jax.metrics.accuracy import Accuracy

LEVEL = 0.05  # of significance; intervals are 95%


@dataclasses.dataclass(frozen=True)
class PairedDifference:
  """Two models on the same examples: how often both, one or neither was correct.

  Attributes:
    both, only_first, only_second, neither: number of examples that these models predicted correctly.
  """

  both: int
  only_first: int
  only_second: int
  neither: int

  @classmethod
  def of(cls, first: np.ndarray, second: np.ndarray) -> 'PairedDifference':
    """Compares two models from (N,) bools: which examples each of them predicted correctly."""
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
      raise ValueError(f'shapes {first.shape} and {second.shape}: expected (N,) twice, N at least 1')
    return cls(*(int(cell.sum()) for cell in (first & second, first & ~second, ~first & second, ~first & ~second)))

  @property
  def count(self) -> int:
    """Number of examples."""
    return self.both + self.only_first + self.only_second + self.neither

  @property
  def first(self) -> Accuracy:
    """Accuracy of the first model."""
    return Accuracy(self.both + self.only_first, self.count)

  @property
  def second(self) -> Accuracy:
    """Accuracy of the second model."""
    return Accuracy(self.both + self.only_second, self.count)

  @property
  def difference(self) -> float:
    """Accuracy of the first model minus that of the second, in [-1, 1]."""
    return (self.only_first - self.only_second) / self.count

  @property
  def p_value(self) -> float:
    """P value of the exact two-sided McNemar test: the probability of such an uneven split between equal models.

    "Note on the sampling error of the difference between correlated proportions or percentages" (McNemar,
    Psychometrika, 1947, https://doi.org/10.1007/BF02295996).
    """
    return _exact_p(self.only_first, self.only_first + self.only_second)

  def interval(self, confidence: float = 0.95) -> tuple[float, float]:
    """Newcombe's score interval of the difference (method 10).

    "Improved confidence intervals for the difference between binomial proportions based on paired data" (Newcombe,
    Statistics in Medicine, 1998,
    https://doi.org/10.1002/(SICI)1097-0258(19981130)17:22%3C2635::AID-SIM954%3E3.0.CO;2-C).
    """
    (low1, high1), (low2, high2) = self.first.interval(confidence), self.second.interval(confidence)
    rate1, rate2 = self.first.rate, self.second.rate
    margins = math.prod((self.first.correct, self.second.correct, self.count - self.first.correct,
                         self.count - self.second.correct))
    product = self.both * self.neither - self.only_first * self.only_second
    if product > 0:
      product = max(product - self.count / 2, 0)  # the correction that makes it method 10
    phi = product / math.sqrt(margins) if margins else 0.0

    def margin(one: float, other: float) -> float:
      return math.sqrt(one ** 2 - 2 * phi * one * other + other ** 2)

    return (max(self.difference - margin(rate1 - low1, high2 - rate2), -1.0),
            min(self.difference + margin(high1 - rate1, rate2 - low2), 1.0))

  @property
  def smallest_detectable(self) -> float:
    """The smallest difference that the exact test would find significant, given how many examples the two disagree on.

    A true difference of that size is found about every other time. Where they disagree on fewer than six examples, no
    split is significant, and six of one kind are assumed.
    """
    disagree = self.only_first + self.only_second
    for one_sided in range(disagree // 2, disagree + 1):
      if _exact_p(one_sided, disagree) < LEVEL:
        return (2 * one_sided - disagree) / self.count
    return min(6 / self.count, 1.0)

  @property
  def distinguishable(self) -> bool:
    """Whether the difference is significant at `LEVEL`."""
    return self.p_value < LEVEL

  def to_json(self) -> dict:
    """The counts and all values derived from them."""
    return {'count': self.count, 'both': self.both, 'only_first': self.only_first, 'only_second': self.only_second,
            'difference': self.difference, 'newcombe_95': list(self.interval()), 'mcnemar_p': self.p_value,
            'smallest_detectable': self.smallest_detectable}

  @classmethod
  def from_json(cls, values: dict) -> 'PairedDifference':
    """The inverse of `to_json`."""
    both, first, second = (values[name] for name in ('both', 'only_first', 'only_second'))
    return cls(both, first, second, values['count'] - both - first - second)


@dataclasses.dataclass(frozen=True)
class MeanDifference:
  """The mean of several paired differences on the same examples: over channel subsets, or over seeds.

  The examples are the sample; what is averaged for each of them (subsets, seeds) counts as fixed.

  Attributes:
    count: number of examples.
    total: sum over examples of their mean differences, each in [-1, 1].
    squares: sum of the squares of these.
  """

  count: int
  total: float
  squares: float

  @classmethod
  def of(cls, first: np.ndarray, second: np.ndarray) -> 'MeanDifference':
    """Compares from bools (comparisons, N) or (seeds, N): correct predictions. The first axes may differ."""
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    if first.shape[1] != second.shape[1] or not first.size or not second.size:
      raise ValueError(f'shapes {first.shape} and {second.shape}: expected the same examples, at least 1')
    values = first.mean(axis=0) - second.mean(axis=0)  # (N,)
    return cls(len(values), float(values.sum()), float((values ** 2).sum()))

  @property
  def difference(self) -> float:
    """Mean difference of the accuracies, in [-1, 1]."""
    return self.total / self.count

  @property
  def _centre_and_error(self) -> tuple[float, float]:
    """Mean and standard error with one extra example at +1 and one at -1, so that the error is never 0."""
    centre = self.total / (self.count + 2)
    return centre, math.sqrt(((self.squares + 2) / (self.count + 2) - centre ** 2) / (self.count + 2))

  def interval(self, confidence: float = 0.95) -> tuple[float, float]:
    """Bonett and Price's adjusted Wald interval, generalised from cells to each example's mean difference.

    For a single comparison it equals theirs: "Adjusted Wald Confidence Interval for a Difference of Binomial
    Proportions Based on Paired Data" (Journal of Educational and Behavioral Statistics, 2012,
    https://doi.org/10.3102/1076998611411915).
    """
    centre, error = self._centre_and_error
    z = float(-special.ndtri((1 - confidence) / 2))
    return max(centre - z * error, -1.0), min(centre + z * error, 1.0)

  @property
  def p_value(self) -> float:
    """Two-sided p value of the hypothesis that the mean is 0; below 0.05 where the 95% interval excludes 0."""
    centre, error = self._centre_and_error
    return float(2 * special.ndtr(-abs(centre) / error))

  @property
  def smallest_detectable(self) -> float:
    """The smallest difference that would have been significant with examples as variable as these."""
    return float(-special.ndtri(LEVEL / 2)) * self._centre_and_error[1]

  @property
  def distinguishable(self) -> bool:
    """Whether the difference is significant at `LEVEL`."""
    return self.p_value < LEVEL


@dataclasses.dataclass(frozen=True)
class RelativeAccuracy:
  """One accuracy as a share of another on the same examples.

  Attributes:
    ratio: first accuracy divided by the second; inf or nan where the second model is never correct.
    error: standard error of its logarithm, by the delta method over examples; inf where either is never correct.
  """

  ratio: float
  error: float

  @classmethod
  def of(cls, first: np.ndarray, second: np.ndarray) -> 'RelativeAccuracy':
    """Computes the ratio from bools (N,), or (seeds, N) of either: which predictions are correct."""
    first, second = (np.atleast_2d(correct).mean(axis=0) for correct in (first, second))  # (N,)
    one, other = float(first.mean()), float(second.mean())
    if not one or not other:
      return cls(one / other if other else (math.inf if one else math.nan), math.inf)
    return cls(one / other, math.sqrt(float(((first / one - second / other) ** 2).sum())) / len(first))

  @classmethod
  def unpaired(cls, first: Accuracy, second: Accuracy) -> 'RelativeAccuracy':
    """Computes the ratio from two counts, both above 0, as if of different examples: wider than paired.

    "Obtaining Confidence Intervals for the Risk Ratio in Cohort Studies" (Katz et al., Biometrics, 1978,
    https://doi.org/10.2307/2530610).
    """
    return cls(first.rate / second.rate, math.sqrt(1 / first.correct - 1 / first.count
                                                   + 1 / second.correct - 1 / second.count))

  def interval(self, confidence: float = 0.95) -> tuple[float, float]:
    """Interval on a logarithmic scale; for single runs, the Wald interval for the ratio of paired proportions."""
    if math.isinf(self.error):
      return 0.0, math.inf
    factor = math.exp(float(-special.ndtri((1 - confidence) / 2)) * self.error)
    return self.ratio / factor, self.ratio * factor


def verdict(comparison: PairedDifference | MeanDifference, first: str, second: str) -> str:
  """The comparison as a sentence about two models of these names."""
  points = 100 * comparison.difference
  if points:
    judged = f'{first} is {abs(points):.1f} points {"better" if points > 0 else "worse"} than {second}'
  else:
    judged = f'{first} and {second} are equally good'
  low, high = (100 * end for end in comparison.interval())
  distinguishable = 'distinguishable' if comparison.distinguishable else 'not distinguishable'
  return (f'{judged} on {comparison.count} images: {distinguishable} (95% interval {low:+.1f} to {high:+.1f}; '
          f'{p_text(comparison.p_value)})')


def p_text(p_value: float) -> str:
  """A p value as text: 'p = 0.82', 'p = 0.004' or 'p < 0.001'."""
  if p_value < 0.001:
    return 'p < 0.001'
  return f'p = {p_value:.2g}' if p_value < 0.01 else f'p = {p_value:.2f}'


def _exact_p(one_sided: int, disagree: int) -> float:
  """The chance that so many or more of so many fair coins, or so many or fewer, fall to one side."""
  return min(1.0, 2 * float(special.bdtr(min(one_sided, disagree - one_sided), disagree, 0.5)))

"""Paired comparisons against published tables, statsmodels, and enumeration of every outcome."""

import math
import re
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep

from mils_jax.metrics import Accuracy, MeanDifference, PairedDifference, RelativeAccuracy, verdict


def arrays(both, only_first, only_second, neither):
  counts = (both, only_first, only_second, neither)
  return (np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts))


@pytest.mark.parametrize(('cells', 'low', 'high'), [
    ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe (1998), Statistics in Medicine 17, p. 2635, method 10
    ((14, 5, 0, 22), 0.0115, 0.2265),  # Altman et al., Statistics with Confidence (2000), table 6.2
    ((1, 1, 7, 12), -0.507, -0.026),  # Fagerland et al. (2014), airway hyper-responsiveness
], ids=['newcombe', 'altman', 'fagerland'])
def test_published_intervals(cells, low, high):
  digits = len(str(low).lstrip('-')) - 2
  assert [round(end, digits) for end in PairedDifference(*cells).interval()] == [low, high]


@pytest.mark.parametrize(('one', 'other'), [(0, 0), (1, 7), (5, 0), (6, 0), (12, 2), (80, 83), (40, 20)])
def test_p_is_statsmodels_exact_mcnemar(one, other):
  expected = mcnemar([[20, one], [other, 30]], exact=True).pvalue
  assert PairedDifference(20, one, other, 30).p_value == pytest.approx(expected)


def test_p_is_the_share_of_splits_that_are_as_uneven():
  for disagree in range(1, 9):
    for one in range(disagree + 1):
      uneven = sum(abs(2 * sum(split) - disagree) >= abs(2 * one - disagree)
                   for split in product((0, 1), repeat=disagree))
      assert PairedDifference(3, one, disagree - one, 4).p_value == pytest.approx(uneven / 2 ** disagree)


def test_counts_come_from_the_examples():
  found = PairedDifference.of(np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 0], bool))
  assert found == PairedDifference(both=1, only_first=2, only_second=1, neither=1)
  assert found.difference == pytest.approx(1 / 5)
  assert (found.first.correct, found.second.correct, found.count) == (3, 2, 5)
  assert PairedDifference.from_json(found.to_json()) == found
  with pytest.raises(ValueError, match='shapes'):
    PairedDifference.of(np.ones(3, bool), np.ones(4, bool))


@pytest.mark.parametrize('cells', [(5, 0, 0, 5), (10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (0, 0, 10, 0)])
def test_the_interval_stands_at_the_extremes(cells):
  found = PairedDifference(*cells)
  low, high = found.interval()
  assert -1 <= low <= found.difference <= high <= 1
  assert high > low


def test_the_interval_turns_round_with_the_models():
  low, high = PairedDifference(200, 40, 25, 80).interval()
  assert PairedDifference(200, 25, 40, 80).interval() == pytest.approx((-high, -low))


def coverage(interval, difference, probabilities, count=12):
  """The chance, summed over every possible table of `count` examples, that the interval holds the true value."""
  held = 0.0
  for both, first, second in product(range(count + 1), repeat=3):
    if both + first + second <= count:
      cells = (both, first, second, count - both - first - second)
      low, high = interval(*cells)
      if low <= difference <= high:
        held += stats.multinomial.pmf(cells, count, probabilities)
  return held


@pytest.mark.parametrize('probabilities', [(0.5, 0.2, 0.2, 0.1), (0.6, 0.25, 0.05, 0.1)])
def test_intervals_hold_the_truth_as_often_as_they_say(probabilities):
  truth = probabilities[1] - probabilities[2]
  newcombe = coverage(lambda *cells: PairedDifference(*cells).interval(), truth, probabilities)
  of_mean = coverage(lambda *cells: MeanDifference.of(*arrays(*cells)).interval(), truth, probabilities)
  assert 0.92 < newcombe < 0.99
  assert 0.92 < of_mean < 0.99


@pytest.mark.parametrize(('disagree', 'count'), [(6, 50), (25, 100), (160, 450), (3, 40)])
def test_the_smallest_detectable_difference_is_the_first_that_is_significant(disagree, count):
  significant = [one for one in range(disagree + 1)
                 if one >= disagree / 2 and PairedDifference(count - disagree, one, disagree - one, 0).distinguishable]
  expected = (2 * min(significant) - disagree) / count if significant else 6 / count
  assert PairedDifference(count - disagree, disagree // 2, disagree - disagree // 2, 0
                          ).smallest_detectable == pytest.approx(expected)


def test_the_verdict_is_a_sentence():
  assert verdict(PairedDifference(263, 34, 31, 122), 'WideCNN4', 'ResNet34') == (
      'WideCNN4 is 0.7 points better than ResNet34 on 450 images: not distinguishable '
      '(95% interval -2.9 to +4.2; p = 0.80)')
  worse = verdict(PairedDifference(200, 20, 80, 150), 'A', 'B')
  assert worse.startswith('A is 13.3 points worse than B on 450 images: distinguishable (95% interval -17.')
  assert worse.endswith('p < 0.001)')
  assert verdict(PairedDifference(5, 1, 1, 3), 'A', 'B').startswith('A and B are equally good on 10 images: not')


def test_the_mean_of_one_comparison_is_bonett_and_prices_interval():
  """Their formula: p12 = (b + 1) / (n + 2), p21 = (c + 1) / (n + 2), as in Fagerland et al. (2014)."""
  both, first, second, neither = 1, 1, 7, 12
  low, high = MeanDifference.of(*arrays(both, first, second, neither)).interval()
  one, other, z = 2 / 23, 8 / 23, 1.959963984540054
  half = z * math.sqrt((one + other - (one - other) ** 2) / 23)
  assert (low, high) == pytest.approx((one - other - half, one - other + half))


def test_the_mean_over_comparisons_is_by_example():
  first = np.array([[1, 1, 0, 0], [1, 0, 0, 1]], bool)  # two subsets, four examples
  second = np.array([[0, 1, 0, 1], [1, 0, 1, 1]], bool)
  found = MeanDifference.of(first, second)
  assert found.difference == pytest.approx((0.5 + 0 - 0.5 - 0.5) / 4)
  assert found.squares == pytest.approx(3 * 0.25)
  assert found == MeanDifference.of(first[::-1], second)  # which of the means is paired with which is no matter
  low, high = found.interval()
  assert low < found.difference < high


def test_p_of_the_mean_agrees_with_its_interval():
  rng = np.random.default_rng(0)
  for _ in range(50):
    found = MeanDifference.of(rng.random((3, 80)) < 0.7, rng.random((2, 80)) < 0.6)
    low, high = found.interval()
    assert (found.p_value < 0.05) == (low > 0 or high < 0)


def test_a_share_has_the_error_of_paired_proportions():
  """Wald's: the variance of the logarithm is (b + c) / ((a + b) (a + c)) (Fagerland et al., 2014, section 5)."""
  both, first, second, neither = 263, 34, 31, 122
  found = RelativeAccuracy.of(*arrays(both, first, second, neither))
  half = 1.959963984540054 * math.sqrt((first + second) / ((both + first) * (both + second)))
  assert found.ratio == pytest.approx(297 / 294)
  assert found.interval() == pytest.approx((found.ratio * math.exp(-half), found.ratio * math.exp(half)))


def test_an_unpaired_share_is_statsmodels():
  found = RelativeAccuracy.unpaired(Accuracy(297, 450), Accuracy(294, 450))
  assert found.interval() == pytest.approx(
      confint_proportions_2indep(297, 450, 294, 450, compare='ratio', method='log'))


def test_the_verdict_on_means_reads_like_that_on_single_runs():
  rng = np.random.default_rng(1)
  found = MeanDifference.of(rng.random((3, 400)) < 0.8, rng.random((3, 400)) < 0.6)
  assert re.fullmatch(r'A is \d+\.\d points better than B on 400 images: distinguishable '
                      r'\(95% interval \+\d+\.\d to \+\d+\.\d; p < 0\.001\)', verdict(found, 'A', 'B'))


def test_the_smallest_detectable_mean_is_where_the_interval_leaves_zero():
  found = MeanDifference.of(np.arange(200) % 3 > 0, np.arange(200) % 5 > 0)
  low, high = found.interval()
  assert found.smallest_detectable == pytest.approx((high - low) / 2)


def test_a_share_of_nothing_is_not_known():
  assert RelativeAccuracy.of(np.ones(4, bool), np.zeros(4, bool)).interval() == (0, math.inf)
  assert RelativeAccuracy.of(np.zeros(4, bool), np.ones(4, bool)).interval() == (0, math.inf)

import math

import pytest

from mils_jax.evaluation.statistics import Accuracy


@pytest.mark.parametrize(('correct', 'count'), [(297, 450), (0, 10), (10, 10), (1, 1), (81, 263)])
def test_interval_is_wilsons_formula(correct, count):
  z, rate = 1.959963984540054, correct / count
  centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
  half = z / (1 + z * z / count) * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
  low, high = Accuracy(correct, count).interval()
  assert low == pytest.approx(max(centre - half, 0), abs=1e-9)
  assert high == pytest.approx(min(centre + half, 1), abs=1e-9)


def test_a_published_example():
  """Newcombe (1998), table I: 81 of 263, Wilson 0.2553 to 0.3662."""
  assert [round(end, 4) for end in Accuracy(81, 263).interval()] == [0.2553, 0.3662]


def test_reads_as_a_sentence_and_keeps_its_count():
  assert str(Accuracy(297, 450)) == '66.00% (297 of 450; 95 % interval 61.5% to 70.2%)'
  assert Accuracy(1, 4).to_json()['count'] == 4

import pytest
from statsmodels.stats.proportion import proportion_confint

from mils_jax.metrics import Accuracy


@pytest.mark.parametrize(('correct', 'count'), [(297, 450), (0, 10), (10, 10), (1, 1), (81, 263)])
@pytest.mark.parametrize('confidence', [0.95, 0.5])
def test_interval_is_statsmodels_wilson_interval(correct, count, confidence):
  expected = proportion_confint(correct, count, 1 - confidence, method='wilson')
  assert Accuracy(correct, count).interval(confidence) == pytest.approx(expected, abs=1e-12)


def test_a_published_example():
  """Newcombe (1998), table I: 81 of 263, Wilson 0.2553 to 0.3662."""
  assert [round(end, 4) for end in Accuracy(81, 263).interval()] == [0.2553, 0.3662]


def test_reads_as_a_sentence_and_keeps_its_count():
  assert str(Accuracy(297, 450)) == '66.00% (297 of 450; 95% interval 61.5% to 70.2%)'
  assert Accuracy(1, 4).to_json()['count'] == 4


@pytest.mark.parametrize(('correct', 'count', 'words'), [
    (999999, 1234567, '999999 of 1234567;'), (10**6, 10**7, '1000000 of 10000000;'), (297.5, 450, '297.5 of 450;'),
    (200 / 3, 450, '66.67 of 450;')])
def test_counts_are_written_out(correct, count, words):
  assert words in str(Accuracy(correct, count))

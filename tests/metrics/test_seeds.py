import math

import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from mils_jax.metrics import SeedSpread, holm


def test_the_spread_over_seeds_is_statsmodels():
  spread, expected = SeedSpread((0.61, 0.64, 0.66)), DescrStatsW([0.61, 0.64, 0.66])
  assert spread.mean == pytest.approx(expected.mean)
  assert spread.std == pytest.approx(expected.std * math.sqrt(3 / 2))
  assert spread.interval() == pytest.approx(expected.tconfint_mean(0.05))


def test_one_seed_has_no_spread():
  spread = SeedSpread((0.5,))
  assert math.isnan(spread.std)
  assert all(math.isnan(end) for end in spread.interval())


@pytest.mark.parametrize('values', [[0.01, 0.04, 0.03, 0.005], [0.5], [0.9, 0.8, 0.02], [0.03, 0.03, 0.03], []])
def test_holms_correction_is_statsmodels(values):
  expected = multipletests(values, method='holm')[1].tolist() if values else []
  assert holm(values) == pytest.approx(expected)


def test_holms_correction_worked_by_hand():
  """Four tests, the smallest p times 4, the next times 3, and so on, never falling: 0.02, 0.03, 0.06, 0.06."""
  assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

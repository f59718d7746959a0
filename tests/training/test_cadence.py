import math

import pytest

from mils_jax.errors import UserError
from mils_jax.training.cadence import CheckpointOptions


def test_a_checkpoint_is_due_by_steps_by_minutes_or_by_either():
  assert [step for step in range(1, 10) if CheckpointOptions(3, 0.0).due(step, 1e9)] == [3, 6, 9]
  assert [CheckpointOptions(0, 2.0).due(7, seconds) for seconds in (0, 119, 120)] == [False, False, True]
  assert [CheckpointOptions(3, 2.0).due(*now) for now in ((6, 0), (7, 0), (7, 120))] == [True, False, True]
  assert not CheckpointOptions(0, 0.0).due(6, 1e9)


@pytest.mark.parametrize('values', [(-1, 10.0), (0, -0.5), (0, math.nan), (0, math.inf)])
def test_a_cadence_out_of_range_is_named(values):
  with pytest.raises(UserError, match=r'checkpoint\.every_(steps|minutes)='):
    CheckpointOptions(*values)

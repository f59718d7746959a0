import math

import numpy as np
import pytest

from mils_jax.metrics.predictions import Predictions
from mils_jax.training.selection import BEST_BY, SUBSETS, score_of


def predictions(predicted, labels=(0, 1, 2, 0, 1, 2), certainty=2.0):
  logits = certainty * np.eye(3, dtype=np.float32)[list(predicted)]
  return Predictions(np.array([f'p{row}' for row in range(len(labels))]), np.array(labels, np.int32), logits)


HALF = predictions((0, 2, 1, 0, 0, 1))  # scikit-learn's example of macro F1, as in test_scores.py
WRONG, RIGHT = (math.log(math.exp(2) + 2) - logit for logit in (0, 2))


@pytest.mark.parametrize(('by', 'expected'), [
    ('accuracy', 2 / 6), ('balanced_accuracy', 1 / 3), ('macro_f1', 0.8 / 3), ('loss', -(4 * WRONG + 2 * RIGHT) / 6)])
def test_more_is_better_by_every_score(by, expected):
  assert score_of(by, HALF, None) == pytest.approx((expected, -(4 * WRONG + 2 * RIGHT) / 6))
  assert score_of(by, predictions((0, 1, 2, 0, 1, 2)), None) > score_of(by, HALF, None)


def test_every_score_is_tried():
  assert list(BEST_BY) == ['accuracy', 'balanced_accuracy', 'macro_f1', 'loss']


def test_of_equals_the_lower_loss_is_better():
  assert score_of('accuracy', predictions((0, 2, 1, 0, 0, 1), certainty=1.0), None) > score_of('accuracy', HALF, None)


def test_subsets_are_the_mean_with_all_channels_and_with_those_that_are_kept():
  right = predictions((0, 1, 2, 0, 1, 2))
  found = score_of(SUBSETS, right, HALF)
  assert found == pytest.approx(((1 + 2 / 6) / 2, -(RIGHT + (4 * WRONG + 2 * RIGHT) / 6) / 2))
  assert found == score_of(SUBSETS, HALF, right)


@pytest.mark.parametrize('by', BEST_BY)
def test_no_number_is_no_better_than_anything(by):
  logits = np.full((6, 3), np.nan, np.float32)
  score = score_of(by, Predictions(HALF.example_ids, HALF.labels, logits), None)
  assert score[1] == -math.inf
  assert score < score_of(by, HALF, None)

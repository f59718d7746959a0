"""Scores against worked examples and their definitions, example by example."""

import math

import numpy as np
import pytest

from mils_jax.metrics import Calibration, Scores

LABELS = np.array([0, 1, 2, 0, 1, 2])
PREDICTED = np.array([0, 2, 1, 0, 0, 1])


def logits_of(predicted, classes):
  return np.eye(classes, dtype=np.float32)[predicted]


def random_scores(count=60, classes=7):
  rng = np.random.default_rng(3)
  return Scores(rng.integers(0, classes, count), rng.normal(size=(count, classes)).astype(np.float32) * 2)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_never_right(value):
  scores = random_scores()
  logits = scores.logits.copy()
  logits[:10] = value
  rest = Scores(scores.labels[10:], scores.logits[10:])
  found = Scores(scores.labels, logits)
  assert (found.accuracy.correct, found.top(5).correct) == (rest.accuracy.correct, rest.top(5).correct)
  assert found.confusion.diagonal().sum() == rest.accuracy.correct
  assert found.finite.tolist() == [False] * 10 + [True] * 50


def test_the_worked_example_of_scikit_learns_manual():
  """f1_score([0, 1, 2, 0, 1, 2], [0, 2, 1, 0, 0, 1], average='macro') is 0.26 (sklearn.metrics.f1_score, Examples)."""
  scores = Scores(LABELS, logits_of(PREDICTED, 3))
  assert scores.macro_f1 == pytest.approx(0.8 / 3)
  assert scores.balanced_accuracy == pytest.approx(1 / 3)  # recalls 1, 0, 0
  assert scores.confusion.tolist() == [[2, 0, 0], [1, 0, 1], [0, 2, 0]]


def test_each_score_is_written_under_its_own_name():
  scores = random_scores()
  written = scores.to_json()
  assert {name: written[name] for name in ('balanced_accuracy', 'macro_f1', 'top_5', 'loss', 'brier',
                                           'calibration_error')} == {
      'balanced_accuracy': scores.balanced_accuracy, 'macro_f1': scores.macro_f1, 'top_5': scores.top(5).rate,
      'loss': scores.loss, 'brier': scores.brier, 'calibration_error': scores.calibration.error}
  assert len({round(value, 6) for name, value in written.items() if isinstance(value, float)}) >= 7  # none is another


def test_classes_that_do_not_occur_count_for_nothing():
  few, many = Scores(LABELS, logits_of(PREDICTED, 3)), Scores(LABELS, logits_of(PREDICTED, 9))
  assert many.macro_f1 == few.macro_f1
  assert many.balanced_accuracy == few.balanced_accuracy
  only_predicted = Scores(np.array([0, 0]), logits_of([0, 1], 3))
  assert only_predicted.macro_f1 == pytest.approx((2 / 3 + 0) / 2)
  assert only_predicted.balanced_accuracy == pytest.approx(1 / 2)


def test_each_score_follows_its_definition():
  scores = random_scores()
  loss = brier = in_top_5 = 0
  for label, logits in zip(scores.labels, scores.logits.astype(float), strict=True):
    odds = [math.exp(value) for value in logits]
    probabilities = [value / sum(odds) for value in odds]
    loss -= math.log(probabilities[label])
    brier += sum((value - (number == label)) ** 2 for number, value in enumerate(probabilities))
    in_top_5 += sum(value > probabilities[label] for value in probabilities) < 5
  assert scores.loss == pytest.approx(loss / 60)
  assert scores.brier == pytest.approx(brier / 60)
  assert (scores.top(5).correct, scores.top(5).count) == (in_top_5, 60)
  assert scores.top(1) == scores.accuracy
  assert sum(one.correct for one in scores.by_class.values()) == scores.accuracy.correct


def test_calibration_worked_by_hand():
  probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.4, 0.6]])
  found = Calibration.of(probabilities, np.array([0, 1, 0, 1]), bins=2)
  assert found.count.tolist() == [0, 4]
  assert found.error == pytest.approx(abs((0.9 + 0.8 + 0.6 + 0.6) / 4 - 3 / 4))
  found = Calibration.of(probabilities, np.array([0, 1, 0, 1]), bins=5)  # 0.6 is the upper edge of the third bin
  assert found.count.tolist() == [0, 0, 2, 1, 1]
  assert found.error == pytest.approx((2 * (1 - 0.6) + 0.8 + 0.1) / 4)
  np.testing.assert_array_equal(found.accuracy, [np.nan, np.nan, 1, 0, 1])


def test_a_model_that_is_right_as_often_as_it_predicts_has_no_calibration_error():
  probabilities = np.tile([0.75, 0.25], (400, 1))
  assert Calibration.of(probabilities, (np.arange(400) % 4 == 0).astype(int)).error == pytest.approx(0)

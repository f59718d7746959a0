"""Selects the best epoch: by one validation score, and among equals by the loss."""

import math
from collections.abc import Callable

from mils_jax.metrics.predictions import Predictions

Score = tuple[float, float]  # (validation score, minus the loss); higher is better

BEST_BY: dict[str, Callable[[Predictions], float]] = {
    'accuracy': lambda predictions: predictions.accuracy.rate,
    'balanced_accuracy': lambda predictions: predictions.scores.balanced_accuracy,
    'macro_f1': lambda predictions: predictions.scores.macro_f1,
    'loss': lambda predictions: -predictions.loss,
}
SUBSETS = 'subsets'  # the mean of two accuracies: with all channels, and with those that channel dropout keeps


def score_of(by: str, validation: Predictions, dropped: Predictions | None) -> Score:
  """The score of an epoch.

  Args:
    by: a key of `BEST_BY`, or `SUBSETS`.
    validation: predictions of the validation split.
    dropped: predictions with the channels that channel dropout keeps; None where nothing is dropped.
  """
  if by == SUBSETS:
    assert dropped is not None  # build.py checks that
    score = (validation.accuracy.rate + dropped.accuracy.rate) / 2, -(validation.loss + dropped.loss) / 2
  else:
    score = BEST_BY[by](validation), -validation.loss
  first, second = (value if math.isfinite(value) else -math.inf for value in score)  # NaN is never better
  return first, second

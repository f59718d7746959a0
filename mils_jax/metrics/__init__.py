"""Evaluates predictions: rates with intervals, scores, paired comparisons, spread over seeds.

Wilson's interval, Holm's correction, the confusion matrix, F1 and the Brier score are our own few lines of numpy each:
importing statsmodels takes 3 to 5 s and scikit-learn 1 to 5 s (measured on two busy cores), and nearly every command
prints an interval. The tests compare them with statsmodels and with published examples.
"""

from mils_jax.metrics.accuracy import Accuracy
from mils_jax.metrics.calibration import Calibration
from mils_jax.metrics.paired import MeanDifference, PairedDifference, RelativeAccuracy, verdict
from mils_jax.metrics.scores import Scores
from mils_jax.metrics.seeds import SeedSpread, holm

__all__ = ['Accuracy', 'Calibration', 'MeanDifference', 'PairedDifference', 'RelativeAccuracy', 'Scores', 'SeedSpread',
           'holm', 'verdict']

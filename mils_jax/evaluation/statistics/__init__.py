"""What a set of predictions can carry: rates with intervals, scores, paired comparisons, spread over seeds."""

from mils_jax.evaluation.statistics.accuracy import Accuracy
from mils_jax.evaluation.statistics.calibration import Calibration
from mils_jax.evaluation.statistics.paired import MeanDifference, PairedDifference, RelativeAccuracy
from mils_jax.evaluation.statistics.scores import Scores
from mils_jax.evaluation.statistics.several import SeedSpread, holm

__all__ = ['Accuracy', 'Calibration', 'MeanDifference', 'PairedDifference', 'RelativeAccuracy', 'Scores', 'SeedSpread',
           'holm']

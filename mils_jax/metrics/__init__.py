"""What a set of predictions can carry: rates with intervals, scores, paired comparisons, spread over seeds."""

from mils_jax.metrics.accuracy import Accuracy
from mils_jax.metrics.calibration import Calibration
from mils_jax.metrics.paired import MeanDifference, PairedDifference, RelativeAccuracy
from mils_jax.metrics.scores import Scores
from mils_jax.metrics.seeds import SeedSpread, holm

__all__ = ['Accuracy', 'Calibration', 'MeanDifference', 'PairedDifference', 'RelativeAccuracy', 'Scores', 'SeedSpread',
           'holm']

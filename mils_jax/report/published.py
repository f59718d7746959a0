"""The published figures of the report that the networks come from, for comparison with ours.

Its test set had 450 images (every accuracy is a multiple of 1/450), so the counts follow, and with them the
intervals. Every row of Table I is a network trained for that channel set alone. Table I prints 2 x MACs as FLOPs,
Table II MACs.
"""

import dataclasses

from mils_jax.metrics import Accuracy, RelativeAccuracy

COUNT = 450
IMAGE_SIZE = 84
EPOCHS = 100
SHARE = 0.9  # share of ResNet34's accuracy that two wide stages exceed according to the abstract


@dataclasses.dataclass(frozen=True)
class PublishedRow:
  """One row of a table.

  Attributes:
    accuracy: accuracy with its count.
    macs: multiply-adds, half of the figure that Table I prints.
    parameters: number of parameters of the network.
  """

  accuracy: Accuracy
  macs: float
  parameters: float


def _row(correct: int, macs: float, parameters: float) -> PublishedRow:
  return PublishedRow(Accuracy(correct, COUNT), macs, parameters)


CHANNELS = {frozenset(channels): _row(correct, 2.637e9 / 2, 17.447e6) for channels, correct in (
    ('RGB', 326), ('R', 315), ('G', 291), ('B', 309), ('RG', 331), ('RB', 334), ('GB', 327))}
MODELS = {'WideCNN4': _row(297, 464.548e6, 2.068e6), 'ResNet34': _row(294, 614.628e6, 21.336e6)}


def judge_share(share: RelativeAccuracy) -> str:
  """Compares a share with the claimed one, by its interval: 'above 90%', 'below 90%' or not distinguishable."""
  low, high = share.interval()
  return f'{"above" if low > SHARE else "below" if high < SHARE else "not distinguishable from"} {SHARE:.0%}'

"""What every channel subset costs one trained model, and what each channel is worth to it."""

import csv
import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from mils_jax import build
from mils_jax.channel_subsets import Subset, check_subset, select_subsets
from mils_jax.data.loader import place_split
from mils_jax.files import replaced
from mils_jax.metrics import Accuracy, PairedDifference
from mils_jax.metrics.predictions import Evaluator, Predictions
from mils_jax.progress import log
from mils_jax.restore import FittingData, Restored, open_fitting_data, restore
from mils_jax.run_config import RunConfig
from mils_jax.training.run_folder import RunFolder, write_json


@dataclasses.dataclass(frozen=True)
class SubsetResult:
  """One model on the test split with only some of its channels.

  Attributes:
    channels: those that were there, in the run's order.
    predictions: of every test example.
  """

  channels: Subset
  predictions: Predictions

  @property
  def accuracy(self) -> Accuracy:
    return self.predictions.accuracy

  def to_json(self) -> dict:
    return {'channels': list(self.channels), **self.accuracy.to_json(),
            'balanced_accuracy': self.predictions.balanced_accuracy}


@dataclasses.dataclass(frozen=True)
class SizeSummary:
  """The subsets of one size.

  Attributes:
    size: number of channels.
    mean: of their accuracies.
    worst: the subset with the lowest accuracy.
    number: how many were evaluated.
  """

  size: int
  mean: float
  worst: SubsetResult
  number: int


@dataclasses.dataclass(frozen=True)
class SubsetReport:
  """One model over many subsets of its channels.

  Attributes:
    channels: all that the run was given.
    results: one for each subset, smaller ones first.
  """

  channels: Subset
  results: tuple[SubsetResult, ...]

  @property
  def full(self) -> SubsetResult:
    return self.results[-1]

  @property
  def worst(self) -> SubsetResult:
    return min(self.results, key=lambda result: result.accuracy.rate)

  @property
  def mean(self) -> float:
    """Of the accuracies of all evaluated subsets."""
    return float(np.mean([result.accuracy.rate for result in self.results]))

  def sizes(self) -> list[SizeSummary]:
    """Mean and worst accuracy of the subsets of each size, smaller ones first."""
    groups = itertools.groupby(self.results, key=lambda result: len(result.channels))
    return [SizeSummary(size, float(np.mean([result.accuracy.rate for result in group])),
                        min(group, key=lambda result: result.accuracy.rate), len(group))
            for size, group in ((size, list(results)) for size, results in groups)]

  def worth(self) -> dict[str, PairedDifference]:
    """By channel, what the full set has over the set without it; nothing where there is only one channel."""
    found = {result.channels: result.predictions for result in self.results}
    without = {channel: tuple(name for name in self.channels if name != channel) for channel in self.channels}
    return {channel: PairedDifference.of(self.full.predictions.correct, found[rest].correct)
            for channel, rest in without.items() if rest}

  def to_json(self) -> dict:
    return {
        'channels': list(self.channels),
        'subsets': [result.to_json() for result in self.results],
        'sizes': [{'size': row.size, 'number': row.number, 'mean': row.mean, 'worst': row.worst.to_json()}
                  for row in self.sizes()],
        'worth': [{'channel': channel, 'difference': difference.to_json()}
                  for channel, difference in self.worth().items()],
    }

  def save(self, folder: RunFolder) -> None:
    """Writes subsets.json and subsets.csv, and subsets.npz with every example's predicted class."""
    with replaced(folder.subset_answers) as unfinished, unfinished.open('wb') as file:
      np.savez_compressed(
          file, example_id=self.full.predictions.example_ids, label=self.full.predictions.labels,
          channels=np.array(self.channels),
          present=np.array([[name in result.channels for name in self.channels] for result in self.results]),
          predicted=np.stack([result.predictions.scores.predicted for result in self.results]).astype(np.int32))
    with (replaced(folder.subsets_table) as unfinished,
          unfinished.open('w', newline='', encoding='utf-8') as file):
      table = csv.writer(file)
      table.writerow(['size', 'channels', 'correct', 'count', 'accuracy', 'low_95', 'high_95', 'balanced_accuracy'])
      for result in self.results:
        accuracy = result.accuracy
        table.writerow([len(result.channels), ' '.join(result.channels), accuracy.correct, accuracy.count,
                        *(f'{value:.4f}' for value in (accuracy.rate, *accuracy.interval(),
                                                       result.predictions.balanced_accuracy))])
    write_json(folder.subsets, self.to_json())


def run_subsets(config: RunConfig, folder: RunFolder) -> SubsetReport:
  """Tests a run's best checkpoint on every non-empty subset of its channels, or a choice where there are too many.

  Raises:
    UserError: as `restore` and `select_subsets` do, or the data has other classes than the model.
  """
  restored = restore(folder, config)
  fitting = open_fitting_data(restored, config, only_own=True)
  subsets = select_subsets(fitting.channels, config.evaluation)
  results = tuple(SubsetResult(subset, predictions)
                  for subset, predictions in _predict(config, restored, fitting, subsets))
  return SubsetReport(fitting.channels, results)


def predict_subsets(config: RunConfig, folder: RunFolder,
                    subsets: Iterable[Subset]) -> Iterator[tuple[Subset, Predictions]]:
  """A run's best checkpoint on the test split, with only the channels of one subset after the other.

  One compiled program serves all.

  Args:
    config: the run's own, or one that differs in where the data lies.
    folder: of the run.
    subsets: of the channels that the run was given.

  Raises:
    UserError: a subset names no channel, or one that the run was not given; or as `restore` does.
  """
  restored = restore(folder, config)
  yield from _predict(config, restored, open_fitting_data(restored, config, only_own=True), list(subsets))


def _predict(config: RunConfig, restored: Restored, fitting: FittingData,
             subsets: list[Subset]) -> Iterator[tuple[Subset, Predictions]]:
  for subset in subsets:
    check_subset(subset, fitting.channels)
  devices, input_channels, test = build.build_devices(config), restored.spec.channels.names, fitting.data.splits['test']
  evaluator = Evaluator(restored.model, fitting.mapping, devices, config.train.batch_size)
  variables = devices.replicate(restored.variables)
  batches = place_split(test, devices, config.runtime.data_placement)
  log(f'restored step {restored.step}; {len(test.labels)} test images, {len(subsets)} subsets of '
      f'{", ".join(fitting.channels)}')
  for number, subset in enumerate(subsets, 1):
    keep = np.array([channel in subset for channel in input_channels])
    yield subset, evaluator(variables, test, batches, f'subset {number} of {len(subsets)}', keep)

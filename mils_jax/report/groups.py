"""Groups runs that differ only in their seed, and labels each group."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from mils_jax.channel_subsets import subset_name
from mils_jax.metrics import (
  Accuracy,
  MeanDifference,
  PairedDifference,
  RelativeAccuracy,
  Scores,
  SeedSpread,
)
from mils_jax.models import title_of
from mils_jax.report.read_runs import NotReported, Run
from mils_jax.schema import FREE as CHANGE_NO_RESULT
from mils_jax.schema import flattened
from mils_jax.sweeps.sweep import SweepRecord

# Options of the published networks; networks with other values are labelled with them.
USUAL = {'width': 256, 'num_kernels': 4, 'small_images': False}
FREE = ('name', *CHANGE_NO_RESULT)  # fields of a configuration that no result depends on
BASELINE = 'ResNet34'

Difference = PairedDifference | MeanDifference


@dataclasses.dataclass(frozen=True)
class Group:
  """The runs of one configuration.

  Attributes:
    label: name among the groups of a report; in the report on one sweep, the name there.
    title: title of the network, such as WideCNN4.
    runs: one per seed.
  """

  label: str
  title: str
  runs: tuple[Run, ...]

  @cached_property
  def correct(self) -> np.ndarray:
    """(seeds, N) bool, in the order of the test images that all runs of a report share."""
    return np.stack([run.test.correct for run in self.runs])

  @property
  def accuracy(self) -> Accuracy:
    """The mean over seeds; its interval is that of one run with the mean count, which is conservative."""
    return Accuracy(float(self.correct.sum(axis=1).mean()), self.correct.shape[1])

  @property
  def spread(self) -> SeedSpread:
    """The spread of the accuracies over seeds."""
    return SeedSpread(tuple(run.test.accuracy.rate for run in self.runs))

  @cached_property
  def scores(self) -> Scores:
    """Every score of the pooled predictions of all seeds."""
    return Scores(np.concatenate([run.test.labels for run in self.runs]),
                  np.concatenate([run.test.logits for run in self.runs]))

  @cached_property
  def subset_correct(self) -> dict[tuple[str, ...], np.ndarray]:
    """By subset, (seeds, N) bool: correct predictions of the seeds that were evaluated on it."""
    return _stacked([run.subset_correct for run in self.runs])

  @cached_property
  def baselines(self) -> dict[str, dict[tuple[str, ...], np.ndarray]]:
    """By the name of another method, then by subset, (seeds, N) bool: correct predictions of that method."""
    return {name: _stacked([run.baselines.get(name, {}) for run in self.runs])
            for name in dict.fromkeys(name for run in self.runs for name in run.baselines)}

  @cached_property
  def subset_accuracy(self) -> dict[tuple[str, ...], Accuracy]:
    """By subset, the mean accuracy over the seeds that were evaluated on it."""
    found: dict[tuple[str, ...], list[Accuracy]] = {}
    for run in self.runs:
      for subset, accuracy in run.subset_accuracy.items():
        found.setdefault(subset, []).append(accuracy)
    return {subset: Accuracy(sum(one.correct for one in seeds) / len(seeds), seeds[0].count)
            for subset, seeds in found.items()}

  @property
  def sweep(self) -> SweepRecord | None:
    """The sweep that all its runs belong to; None where there is none."""
    return common_sweep(self.runs)

  @property
  def name_in_sweep(self) -> str:
    """The name of its runs in their sweep; '' outside of sweeps."""
    return self.runs[0].name_in_sweep

  @property
  def channels(self) -> tuple[str, ...]:
    """The channels of the data that its runs used."""
    return self.runs[0].channels

  @property
  def input_channels(self) -> tuple[str, ...]:
    """The input channels of the network."""
    return tuple(self.runs[0].results['input_channels'])

  @property
  def sees_all(self) -> bool:
    """Whether no input channel of the network was missing."""
    return self.runs[0].sees_all

  @property
  def classes(self) -> tuple[str, ...]:
    """Names of the classes."""
    return self.runs[0].classes

  @property
  def passes(self) -> int:
    """Number of passes of the training split through the network in a run's training."""
    views = 2 if self.runs[0].config['channel_dropout']['full_view'] else 1
    return views * self.runs[0].results['epochs']

  def size(self, name: str) -> int:
    """The size `name` of the network: 'macs', 'flops' or 'parameters'."""
    return self.runs[0].results[name]

  def against(self, other: 'Group') -> Difference:
    """The difference between its accuracy and that of another group."""
    return difference_of(self.correct, other.correct)

  def share_of(self, other: 'Group') -> RelativeAccuracy:
    """Its accuracy as a share of that of another group."""
    return RelativeAccuracy.of(self.correct, other.correct)


def _stacked(seeds: list[dict[tuple[str, ...], np.ndarray]]) -> dict[tuple[str, ...], np.ndarray]:
  """By subset, (seeds, N): stacks the seeds that have it."""
  return {subset: np.stack([one[subset] for one in seeds if subset in one])
          for subset in dict.fromkeys(subset for one in seeds for subset in one)}


def difference_of(first: np.ndarray, second: np.ndarray) -> Difference:
  """The paired difference of (seeds, N) bools: exact for single runs, otherwise of the means over seeds."""
  if len(first) == len(second) == 1:
    return PairedDifference.of(first[0], second[0])
  return MeanDifference.of(first, second)


def make_groups(runs: list[Run]) -> tuple[list[Group], list[NotReported]]:
  """Groups the runs; also returns the runs that repeat another one with the same seed.

  If all runs belong to one sweep, there is a group for each name in the sweep, in the sweep's order. Otherwise there is
  a group for each configuration, in the order of the labels.
  """
  sweep = common_sweep(runs)
  by_key: dict[str, dict[int, Run]] = {}
  copies = []
  for run in runs:
    seeds = by_key.setdefault(run.name_in_sweep if sweep else _key(run), {})
    seed = run.config['train']['seed']
    if seed in seeds:
      copies.append(NotReported(run.name, f'the same configuration and seed as {seeds[seed].name}: counted once'))
    else:
      seeds[seed] = run
  grouped = [tuple(seeds.values()) for seeds in by_key.values()]
  titles = [_title(group[0]) for group in grouped]
  if sweep:
    order = list(sweep.runs.values())
    groups = [Group(group[0].name_in_sweep, title, group) for group, title in zip(grouped, titles, strict=True)]
    return sorted(groups, key=lambda group: order.index(group.label)), copies
  labels = [_label(group[0], titles[index]) for index, group in enumerate(grouped)]
  groups = [Group(_distinct(index, labels, grouped), titles[index], group) for index, group in enumerate(grouped)]
  return sorted(groups, key=lambda group: group.label), copies


def common_sweep(runs: Iterable[Run]) -> SweepRecord | None:
  """The sweep that all of these runs belong to; None where there is no such sweep."""
  runs = list(runs)
  first = runs[0].sweep
  return first if all(run.sweep == first for run in runs) else None


def reference_of(groups: list[Group]) -> Group | None:
  """The reference for comparisons: the first run of the sweep, else a ResNet34, else the first group.

  It is None where the first run of the sweep is missing. A sweep of specialists has no reference of its own.
  """
  sweep = common_sweep(run for group in groups for run in group.runs)
  if sweep and sweep.table != 'specialists':
    return next((group for group in groups if group.name_in_sweep == sweep.first), None)
  return next((group for group in groups if group.title == BASELINE), groups[0])


def in_figures(groups: list[Group], most: int = 6) -> list[list[Group]]:
  """Splits the groups into parts of about equal size, at most `most` each, so that a figure of each is readable."""
  return [list(part) for part in np.array_split(np.array(groups, object), -(-len(groups) // most))]


def config_differences(config: dict, other: dict) -> list[str]:
  """Fields of `config`, such as 'train.epochs=20', that differ from `other` and that a result may depend on."""
  own, second = _settings(config), _settings(other)
  return [f'{name}={value}' for name, value in own.items() if name not in second or value != second[name]]


def _settings(config: dict) -> dict:
  """Every field that a result may depend on, by its full name."""
  return {name: value for name, value in sorted(flattened(config)) if name.split('.')[0] not in FREE}


def _key(run: Run) -> str:
  return json.dumps([_settings(run.config) | {'train.seed': None}, run.origin])


def _title(run: Run) -> str:
  model = run.config['model']
  unusual = [f'{name}={model[name]}' for name, value in USUAL.items() if model.get(name, value) != value]
  return (title_of(model['name']) + str(model.get('stages', ''))
          + (f' ({", ".join(unusual)})' if unusual else ''))


def _label(run: Run, title: str) -> str:
  name = f'{title}, {run.origin}' if run.origin else title
  return name if run.sees_all else f'{name} on {subset_name(run.channels)}'


def _distinct(index: int, labels: list[str], grouped: list[tuple[Run, ...]]) -> str:
  """The label, with the fields in which its configuration differs from most others of the same label."""
  others = [_settings(group[0].config) for label, group in zip(labels, grouped, strict=True) if label == labels[index]]
  changes = []
  for name, value in _settings(grouped[index][0].config).items():
    values = Counter(repr(other.get(name)) for other in others).most_common(2)
    usual = values[0][0] if len(values) == 1 or values[0][1] > values[1][1] else None
    if repr(value) != usual and name != 'train.seed':
      changes.append(f'{name}={value}')
  return f'{labels[index]} ({", ".join(changes)})' if changes else labels[index]

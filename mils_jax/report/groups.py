"""Groups of runs that differ only in their seed, each under a name that a reader knows."""

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
from mils_jax.report.load import NotReported, Run
from mils_jax.schema import FREE as CHANGE_NO_RESULT
from mils_jax.schema import flattened
from mils_jax.sweeps.sweep import SweepRecord

# Of the published networks; others are not called by their bare names.
USUAL = {'width': 256, 'num_kernels': 4, 'small_images': False}
FREE = ('name', *CHANGE_NO_RESULT)  # of a configuration: nothing that a result depends on
BASELINE = 'ResNet34'

Difference = PairedDifference | MeanDifference


@dataclasses.dataclass(frozen=True)
class Group:
  """The runs of one configuration.

  Attributes:
    label: names it among the groups of a report; in the report on one sweep, its name there.
    title: of the network, such as WideCNN4.
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
    """The mean over seeds; its interval is that of one run with the mean count, so rather too wide than too narrow."""
    return Accuracy(float(self.correct.sum(axis=1).mean()), self.correct.shape[1])

  @property
  def spread(self) -> SeedSpread:
    """How far the accuracies of the seeds spread."""
    return SeedSpread(tuple(run.test.accuracy.rate for run in self.runs))

  @cached_property
  def scores(self) -> Scores:
    """Every score of all seeds' predictions together."""
    return Scores(np.concatenate([run.test.labels for run in self.runs]),
                  np.concatenate([run.test.logits for run in self.runs]))

  @cached_property
  def subset_correct(self) -> dict[tuple[str, ...], np.ndarray]:
    """By subset, (seeds, N) bool, of the seeds that were evaluated on it."""
    return _stacked([run.subset_correct for run in self.runs])

  @cached_property
  def baselines(self) -> dict[str, dict[tuple[str, ...], np.ndarray]]:
    """By another method's name, likewise where that was right."""
    return {name: _stacked([run.baselines.get(name, {}) for run in self.runs])
            for name in dict.fromkeys(name for run in self.runs for name in run.baselines)}

  @cached_property
  def subset_accuracy(self) -> dict[tuple[str, ...], Accuracy]:
    """By subset, the mean over the seeds that were evaluated on it."""
    found: dict[tuple[str, ...], list[Accuracy]] = {}
    for run in self.runs:
      for subset, accuracy in run.subset_accuracy.items():
        found.setdefault(subset, []).append(accuracy)
    return {subset: Accuracy(sum(one.correct for one in seeds) / len(seeds), seeds[0].count)
            for subset, seeds in found.items()}

  @property
  def sweep(self) -> SweepRecord | None:
    """The sweep that all its runs are members of."""
    return common_sweep(self.runs)

  @property
  def member(self) -> str:
    """Its name in its sweep; '' outside of sweeps."""
    return self.runs[0].member

  @property
  def channels(self) -> tuple[str, ...]:
    """The channels of the data that its runs were given."""
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
    """How often a run's training put the training split through the network."""
    views = 2 if self.runs[0].config['channel_dropout']['full_view'] else 1
    return views * self.runs[0].results['epochs']

  def size(self, name: str) -> int:
    """'macs', 'flops' or 'parameters'."""
    return self.runs[0].results[name]

  def against(self, other: 'Group') -> Difference:
    """The difference of its accuracy to another group's."""
    return difference_of(self.correct, other.correct)

  def share_of(self, other: 'Group') -> RelativeAccuracy:
    """Its accuracy as a share of another group's."""
    return RelativeAccuracy.of(self.correct, other.correct)


def _stacked(seeds: list[dict[tuple[str, ...], np.ndarray]]) -> dict[tuple[str, ...], np.ndarray]:
  """By subset, (seeds, N), of the seeds that have it."""
  return {subset: np.stack([one[subset] for one in seeds if subset in one])
          for subset in dict.fromkeys(subset for one in seeds for subset in one)}


def difference_of(first: np.ndarray, second: np.ndarray) -> Difference:
  """The paired difference of (seeds, N) bools: exact for single runs, of the means over seeds otherwise."""
  if len(first) == len(second) == 1:
    return PairedDifference.of(first[0], second[0])
  return MeanDifference.of(first, second)


def make_groups(runs: list[Run]) -> tuple[list[Group], list[NotReported]]:
  """The groups, and the runs that repeat another with the same seed.

  All runs of one sweep: a group for each member, in the sweep's order. Others: a group for each configuration, in the
  order of the labels.
  """
  sweep = common_sweep(runs)
  by_key: dict[str, dict[int, Run]] = {}
  copies = []
  for run in runs:
    seeds = by_key.setdefault(run.member if sweep else _key(run), {})
    seed = run.config['train']['seed']
    if seed in seeds:
      copies.append(NotReported(run.name, f'the same configuration and seed as {seeds[seed].name}: counted once'))
    else:
      seeds[seed] = run
  members = [tuple(seeds.values()) for seeds in by_key.values()]
  titles = [_title(group[0]) for group in members]
  if sweep:
    order = list(sweep.runs.values())
    groups = [Group(group[0].member, title, group) for group, title in zip(members, titles, strict=True)]
    return sorted(groups, key=lambda group: order.index(group.label)), copies
  labels = [_label(group[0], titles[index]) for index, group in enumerate(members)]
  groups = [Group(_distinct(index, labels, members), titles[index], group) for index, group in enumerate(members)]
  return sorted(groups, key=lambda group: group.label), copies


def common_sweep(runs: Iterable[Run]) -> SweepRecord | None:
  """The sweep that all of these runs are members of; None where there is no such sweep."""
  runs = list(runs)
  first = runs[0].sweep
  return first if all(run.sweep == first for run in runs) else None


def reference_of(groups: list[Group]) -> Group | None:
  """What the others are compared with: the first member of their sweep, else a ResNet34, else the first group.

  None where the first member of the sweep is not there. A sweep of specialists has no first among equals.
  """
  sweep = common_sweep(run for group in groups for run in group.runs)
  if sweep and sweep.table != 'specialists':
    return next((group for group in groups if group.member == sweep.first), None)
  return next((group for group in groups if group.title == BASELINE), groups[0])


def in_figures(groups: list[Group], most: int = 6) -> list[list[Group]]:
  """The groups in parts of about one size, at most `most` of them, so that a figure of each can be read."""
  return [list(part) for part in np.array_split(np.array(groups, object), -(-len(groups) // most))]


def config_differences(config: dict, other: dict) -> list[str]:
  """'train.epochs=20' for each field of `config` that differs from `other` and that a result may depend on."""
  own, second = dict(flattened(config)), dict(flattened(other))
  return [f'{name}={value}' for name, value in sorted(own.items())
          if (name not in second or value != second[name]) and name.split('.')[0] not in FREE]


def _key(run: Run) -> str:
  settings = {name: value for name, value in sorted(flattened(run.config))
              if name.split('.')[0] not in FREE and name != 'train.seed'}
  return json.dumps([settings, run.origin])


def _title(run: Run) -> str:
  model = run.config['model']
  unusual = [f'{name}={model[name]}' for name, value in USUAL.items() if model.get(name, value) != value]
  return (title_of(model['name']) + str(model.get('stages', ''))
          + (f' ({", ".join(unusual)})' if unusual else ''))


def _label(run: Run, title: str) -> str:
  name = f'{title}, {run.origin}' if run.origin else title
  return name if run.sees_all else f'{name} on {subset_name(run.channels)}'


def _distinct(index: int, labels: list[str], members: list[tuple[Run, ...]]) -> str:
  """The label, with what sets its configuration apart from most others of the same label."""
  others = [dict(flattened(group[0].config)) for label, group in zip(labels, members, strict=True)
            if label == labels[index]]
  own = dict(flattened(members[index][0].config))
  changes = []
  for name in sorted(own):
    values = Counter(repr(other.get(name)) for other in others).most_common(2)
    usual = values[0][0] if len(values) == 1 or values[0][1] > values[1][1] else None
    if repr(own[name]) != usual and name.split('.')[0] not in FREE and name != 'train.seed':
      changes.append(f'{name}={own[name]}')
  return f'{labels[index]} ({", ".join(changes)})' if changes else labels[index]

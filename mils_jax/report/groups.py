"""Runs of one configuration, which differ in their seed alone, under a name that a reader knows."""

import dataclasses
import json
from collections import Counter
from functools import cached_property

import numpy as np

from mils_jax.metrics import (
  Accuracy,
  MeanDifference,
  PairedDifference,
  RelativeAccuracy,
  Scores,
  SeedSpread,
)
from mils_jax.report.formats import subset_name
from mils_jax.report.load import NotReported, Run
from mils_jax.schema import FREE as CHANGE_NO_RESULT

TITLES = {'dynamic_resnet12': 'DynamicResNet12', 'resnet34': 'ResNet34', 'wide_cnn': 'WideCNN'}
USUAL = {'width': 256, 'num_kernels': 4}  # of the published networks; others are not called by their bare names
FREE = ('name', *CHANGE_NO_RESULT)  # of a configuration: nothing that a result depends on


@dataclasses.dataclass(frozen=True)
class Group:
  """One configuration.

  Attributes:
    label: names it among the groups of a report.
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
    return SeedSpread(tuple(run.test.accuracy.rate for run in self.runs))

  @cached_property
  def scores(self) -> Scores:
    """Of all seeds' predictions together."""
    return Scores(np.concatenate([run.test.labels for run in self.runs]),
                  np.concatenate([run.test.logits for run in self.runs]))

  @cached_property
  def subset_correct(self) -> dict[tuple[str, ...], np.ndarray]:
    """By subset, (seeds, N) bool, of the seeds whose answer to each image was kept."""
    return {subset: np.stack([run.subset_correct[subset] for run in self.runs if subset in run.subset_correct])
            for subset in dict.fromkeys(subset for run in self.runs for subset in run.subset_correct)}

  @cached_property
  def subset_accuracy(self) -> dict[tuple[str, ...], Accuracy]:
    """By subset, the mean over the seeds that were measured on it."""
    found: dict[tuple[str, ...], list[Accuracy]] = {}
    for run in self.runs:
      for subset, accuracy in run.subset_accuracy.items():
        found.setdefault(subset, []).append(accuracy)
    return {subset: Accuracy(sum(one.correct for one in seeds) / len(seeds), seeds[0].count)
            for subset, seeds in found.items()}

  @property
  def channels(self) -> tuple[str, ...]:
    return self.runs[0].channels

  @property
  def input_channels(self) -> tuple[str, ...]:
    return tuple(self.runs[0].results['input_channels'])

  @property
  def sees_all(self) -> bool:
    return self.runs[0].sees_all

  @property
  def classes(self) -> tuple[str, ...]:
    return self.runs[0].classes

  def size(self, name: str) -> int:
    """'macs', 'flops' or 'parameters'."""
    return self.runs[0].results[name]

  def against(self, other: 'Group') -> PairedDifference | MeanDifference:
    """The difference to another group; with several seeds, of the mean over seeds."""
    if len(self.runs) == len(other.runs) == 1:
      return PairedDifference.of(self.correct[0], other.correct[0])
    return MeanDifference.of(self.correct, other.correct)

  def share_of(self, other: 'Group') -> RelativeAccuracy:
    return RelativeAccuracy.of(self.correct, other.correct)


def make_groups(runs: list[Run]) -> tuple[list[Group], list[NotReported]]:
  """The groups in the order of their labels, and the runs that repeat another with the same seed."""
  by_key: dict[str, dict[int, Run]] = {}
  copies = []
  for run in runs:
    seeds = by_key.setdefault(_key(run), {})
    seed = run.config['train']['seed']
    if seed in seeds:
      copies.append(NotReported(run.name, f'the same configuration and seed as {seeds[seed].name}: counted once'))
    else:
      seeds[seed] = run
  members = [tuple(seeds.values()) for seeds in by_key.values()]
  titles = [_title(group[0]) for group in members]
  labels = [_label(group[0], titles[index]) for index, group in enumerate(members)]
  groups = [Group(_distinct(index, labels, members), titles[index], group) for index, group in enumerate(members)]
  return sorted(groups, key=lambda group: group.label), copies


def in_figures(groups: list[Group], most: int = 6) -> list[list[Group]]:
  """The groups in parts of about one size, at most `most` of them, so that a figure of each can be read."""
  return [list(part) for part in np.array_split(np.array(groups, object), -(-len(groups) // most))]


def config_differences(config: dict, other: dict) -> list[str]:
  """'train.epochs=20' for each field of `config` that differs from `other` and that a result may depend on."""
  own, second = _flat(config), _flat(other)
  return [f'{name}={value}' for name, value in sorted(own.items())
          if (name not in second or value != second[name]) and name.split('.')[0] not in FREE]


def _key(run: Run) -> str:
  settings = {name: value for name, value in sorted(_flat(run.config).items())
              if name.split('.')[0] not in FREE and name != 'train.seed'}
  return json.dumps([settings, run.origin])


def _flat(config: dict, prefix: str = '') -> dict:
  found = {}
  for name, value in config.items():
    found |= _flat(value, f'{prefix}{name}.') if isinstance(value, dict) else {f'{prefix}{name}': value}
  return found


def _title(run: Run) -> str:
  model = run.config['model']
  unusual = [f'{name}={model[name]}' for name, value in USUAL.items() if model.get(name, value) != value]
  return (TITLES.get(model['name'], model['name']) + str(model.get('stages', ''))
          + (f' ({", ".join(unusual)})' if unusual else ''))


def _label(run: Run, title: str) -> str:
  name = f'{title}, {run.origin}' if run.origin else title
  return name if run.sees_all else f'{name} on {subset_name(run.channels)}'


def _distinct(index: int, labels: list[str], members: list[tuple[Run, ...]]) -> str:
  """The label, with what sets its configuration apart from most others of the same label."""
  others = [_flat(group[0].config) for label, group in zip(labels, members, strict=True) if label == labels[index]]
  own = _flat(members[index][0].config)
  changes = []
  for name in sorted(own):
    values = Counter(repr(other.get(name)) for other in others).most_common(2)
    usual = values[0][0] if len(values) == 1 or values[0][1] > values[1][1] else None
    if repr(own[name]) != usual and name.split('.')[0] not in FREE and name != 'train.seed':
      changes.append(f'{name}={own[name]}')
  return f'{labels[index]} ({", ".join(changes)})' if changes else labels[index]

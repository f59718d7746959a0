"""Accuracy by subset of the channels: of specialists, of one model for all, and what the one loses to the others."""

import dataclasses

import numpy as np

from mils_jax.metrics import Accuracy, MeanDifference, PairedDifference
from mils_jax.report.groups import Group, config_differences

Subset = tuple[str, ...]
Series = dict[str, dict[Subset, Accuracy]]  # by a name for the legend


@dataclasses.dataclass(frozen=True)
class Gap:
  """One model and the specialist of one subset, with the same channels on the same test images.

  Attributes:
    own: (seeds, N) bool, where the one model was right.
    specialist: likewise, with seeds of its own.
  """

  own: np.ndarray
  specialist: np.ndarray

  @property
  def difference(self) -> PairedDifference | MeanDifference:
    """Below 0 where the specialist is better."""
    if len(self.own) == len(self.specialist) == 1:
      return PairedDifference.of(self.own[0], self.specialist[0])
    return MeanDifference.of(self.own, self.specialist)


Gaps = dict[Subset, Gap]


def subset_series(groups: list[Group]) -> Series:
  """Accuracies by subset: of specialists of one recipe together, and of each single model that was measured on many."""
  recipes = _recipes(groups)
  series: Series = {}
  for recipe, members in recipes.items():
    name = 'trained for the subset' + (f' ({recipe})' if len(recipes) > 1 and recipe else '')
    series[name] = {subset: group.accuracy for subset, group in members.items()}
  for group in groups:
    if group.subset_accuracy:
      series[f'one model: {group.label}'] = group.subset_accuracy
  return series


def subset_gaps(group: Group, groups: list[Group]) -> Gaps:
  """What a model for all subsets loses to specialists of one recipe, where its answer to each image was kept."""
  correct = group.subset_correct
  recipes = _recipes([other for other in groups if other is not group])
  specialists = max(recipes.values(), key=len, default={})
  if len(specialists) < 2:
    return {}
  return {subset: Gap(correct[subset], other.correct) for subset, other in specialists.items() if subset in correct}


def mean_gap(gaps: Gaps) -> MeanDifference:
  """The mean over subsets of the differences to the specialists."""
  return MeanDifference.of(np.stack([gap.own.mean(axis=0) for gap in gaps.values()]),
                           np.stack([gap.specialist.mean(axis=0) for gap in gaps.values()]))


def _recipes(groups: list[Group]) -> dict[str, dict[Subset, Group]]:
  """Models that always saw the same channels, by what else sets them apart from the first one, then by channels."""
  recipes: dict[str, dict[Subset, Group]] = {}
  fixed = [group for group in groups if group.runs[0].config['channel_dropout']['method'] == 'none']
  for group in fixed:
    changes = config_differences(group.runs[0].config, fixed[0].runs[0].config)
    changes = [change for change in changes if not change.startswith(('channels.use=', 'train.seed='))]
    recipe = ', '.join([*changes, *filter(None, [group.runs[0].origin])])
    recipes.setdefault(recipe, {})[group.channels] = group
  return recipes

"""The numbers of the tables that end a sweep: finished members against each other, on the same test images.

Several seeds of a member are averaged, example by example; the sample is the test images.
"""

import dataclasses
import zipfile

import numpy as np

from mils_jax.channel_subsets import select_subsets
from mils_jax.errors import RunError, UserError
from mils_jax.metrics import (
  Accuracy,
  MeanDifference,
  PairedDifference,
  RelativeAccuracy,
  SeedSpread,
  holm,
)
from mils_jax.metrics.alignment import aligned
from mils_jax.metrics.predictions import Predictions
from mils_jax.subset_cache import cached_subset_predictions
from mils_jax.sweeps.sweep import Member, Sweep

Subset = tuple[str, ...]
Difference = PairedDifference | MeanDifference


@dataclasses.dataclass(frozen=True)
class Size:
  """What one image costs a network, and what it holds."""

  macs: int
  flops: int
  parameters: int

  @classmethod
  def of(cls, member: Member) -> 'Size':
    results = member.folder.read_results()
    return cls(results['macs'], results['flops'], results['parameters'])


@dataclasses.dataclass(frozen=True)
class SpecialistRow:
  """A specialist against the generalist on the specialist's channels.

  Attributes:
    name: of the specialist.
    subset: its channels.
    specialist, generalist: accuracies.
    difference: of the generalist less the specialist.
    adjusted_p: Holm's, over the table.
    size: of the specialist.
  """

  name: str
  subset: Subset
  specialist: Accuracy
  generalist: Accuracy
  difference: Difference
  adjusted_p: float
  size: Size


@dataclasses.dataclass(frozen=True)
class SpecialistTable:
  """One generalist against all specialists.

  Attributes:
    generalist: its name.
    size: its.
    rows: by specialist.
    mean: difference over all subsets, of the generalist less the specialists.
  """

  generalist: str
  size: Size
  rows: list[SpecialistRow]
  mean: MeanDifference

  @property
  def worst(self) -> SpecialistRow:
    return min(self.rows, key=lambda row: row.difference.difference)


@dataclasses.dataclass(frozen=True)
class AblationRow:
  """A member over all subsets of its channels.

  Attributes:
    name: of the member.
    full: accuracy with all channels.
    mean: of the accuracies over the subsets, by seed.
    worst_subset: the one with the lowest accuracy.
    worst: that accuracy.
    difference: of the mean, less the first member's; None for the first.
    adjusted_p: Holm's, over the table.
  """

  name: str
  full: Accuracy
  mean: SeedSpread
  worst_subset: Subset
  worst: Accuracy
  difference: MeanDifference | None
  adjusted_p: float | None


@dataclasses.dataclass(frozen=True)
class ModelRow:
  """A network against the first one.

  Attributes:
    name: of the member.
    stages: of a wide network; None for others.
    accuracy: the mean over the seeds, with the sampling of test images as its uncertainty.
    seeds: spread of the accuracies over the seeds.
    size: of the network.
    share: of the first one's accuracy; None for the first.
    difference: less the first one; None for the first.
    adjusted_p: Holm's, over the table.
  """

  name: str
  stages: int | None
  accuracy: Accuracy
  seeds: SeedSpread
  size: Size
  share: RelativeAccuracy | None
  difference: Difference | None
  adjusted_p: float | None


def finished(sweep: Sweep) -> dict[str, list[Member]]:
  """The members that were tested, by name."""
  done: dict[str, list[Member]] = {}
  for member in sweep.members:
    if member.folder.read_results() is not None:
      done.setdefault(member.name, []).append(member)
  return done


def is_generalist(member: Member) -> bool:
  """Whether channels were sampled in its training."""
  return member.config.channel_dropout.method != 'none'


def check_specialists(sweep: Sweep) -> None:
  """Raises UserError where there is nobody to compare."""
  kinds = {is_generalist(member) for member in sweep.members}
  if kinds != {True, False}:
    missing = 'generalist (channels.dropout)' if True not in kinds else 'specialist (channels.dropout=none)'
    raise UserError(f'the table of specialists needs a {missing} among the members')


def compare_specialists(sweep: Sweep) -> list[SpecialistTable]:
  """A table for each generalist that is finished."""
  done = finished(sweep)
  specialists = {name: members for name, members in done.items() if not is_generalist(members[0])}
  tables = []
  for generalist, members in done.items():
    if specialists and is_generalist(members[0]):
      tables.append(_against_specialists(generalist, members, specialists))
  return tables


def _against_specialists(generalist: str, members: list[Member], specialists: dict[str, list[Member]]
                         ) -> SpecialistTable:
  subsets = {name: tuple(own[0].folder.read_results()['channels']) for name, own in specialists.items()}
  said = {f'{member.title} on {",".join(subset)}': predictions for member in members
          for subset, predictions in cached_subset_predictions(member.folder, list(subsets.values())).items()}
  own_said = {member.title: _test_predictions(member) for own in specialists.values() for member in own}
  everything = aligned({**own_said, **said})
  pairs = {}
  for name, subset in subsets.items():
    ours = np.stack([everything[f'{member.title} on {",".join(subset)}'].correct for member in members])
    theirs = np.stack([everything[member.title].correct for member in specialists[name]])
    pairs[name] = ours, theirs
  differences = {name: difference_of(*pair) for name, pair in pairs.items()}
  adjusted = dict(zip(pairs, holm([difference.p_value for difference in differences.values()]), strict=True))
  rows = [SpecialistRow(name, subsets[name], accuracy_of(theirs), accuracy_of(ours), differences[name], adjusted[name],
                        Size.of(specialists[name][0])) for name, (ours, theirs) in pairs.items()]
  return SpecialistTable(generalist, Size.of(members[0]), rows,
                         MeanDifference.of(*(np.stack([side.mean(axis=0) for side in sides])
                                             for sides in zip(*pairs.values(), strict=True))))


def check_ablation(sweep: Sweep) -> None:
  """Raises UserError where members are not of the same channels, so that their subsets are others."""
  used = {member.config.channels.use for member in sweep.members}
  if len(used) > 1:
    raise UserError(f'the members of an ablation need the same channels.use; here are {", ".join(map(repr, used))}')


def compare_ablation(sweep: Sweep) -> list[AblationRow]:
  """Every finished member over all subsets, against the first of the sweep where that is finished."""
  groups = {}
  for name, members in finished(sweep).items():
    subsets = select_subsets(members[0].folder.read_results()['channels'], members[0].config.evaluation)
    for member in members:
      for subset, predictions in cached_subset_predictions(member.folder, subsets).items():
        groups.setdefault(name, {})[member.title, subset] = predictions
  everything = aligned({f'{title} on {",".join(subset)}': one for said in groups.values()
                        for (title, subset), one in said.items()})
  correct: dict[str, dict[Subset, np.ndarray]] = {}  # (seeds, N) by member and subset
  for name, said in groups.items():
    subsets = list(dict.fromkeys(subset for _, subset in said))
    titles = list(dict.fromkeys(title for title, _ in said))
    correct[name] = {subset: np.stack([everything[f'{title} on {",".join(subset)}'].correct for title in titles])
                     for subset in subsets}
  first = correct.get(sweep.members[0].name)
  differences = {name: MeanDifference.of(np.concatenate([*own.values()]), np.concatenate([*first.values()]))
                 for name, own in correct.items() if first is not None and own is not first}
  adjusted = dict(zip(differences, holm([one.p_value for one in differences.values()]), strict=True))
  rows = []
  for name, own in correct.items():
    worst = min(own, key=lambda subset: own[subset].mean())
    means = SeedSpread(tuple(np.mean([*own.values()], axis=(0, 2)).tolist()))  # over subsets and images
    rows.append(AblationRow(name, accuracy_of(own[max(own, key=len)]), means, worst, accuracy_of(own[worst]),
                            differences.get(name), adjusted.get(name)))
  return rows


def compare_models(sweep: Sweep) -> list[ModelRow]:
  """Every finished network, against the first of the sweep where that is finished."""
  done = finished(sweep)
  everything = aligned({member.title: _test_predictions(member) for members in done.values() for member in members})
  correct = {name: np.stack([everything[member.title].correct for member in members])
             for name, members in done.items()}
  first = correct.get(sweep.members[0].name)
  differences = {name: difference_of(own, first) for name, own in correct.items()
                 if first is not None and own is not first}
  adjusted = dict(zip(differences, holm([one.p_value for one in differences.values()]), strict=True))
  return [ModelRow(name, getattr(done[name][0].config.model, 'stages', None), accuracy_of(own),
                   SeedSpread(tuple(own.mean(axis=1).tolist())), Size.of(done[name][0]),
                   RelativeAccuracy.of(own, first) if name in differences else None,
                   differences.get(name), adjusted.get(name)) for name, own in correct.items()]


def difference_of(first: np.ndarray, second: np.ndarray) -> Difference:
  """Of (seeds, N) right answers: exact where each is one run, of the seeds' means otherwise."""
  if len(first) == len(second) == 1:
    return PairedDifference.of(first[0], second[0])
  return MeanDifference.of(first, second)


def accuracy_of(correct: np.ndarray) -> Accuracy:
  """The mean over seeds of (seeds, N) right answers, its count being the examples."""
  seeds, count = correct.shape
  total = int(correct.sum())
  return Accuracy(total // seeds if total % seeds == 0 else total / seeds, count)


def _test_predictions(member: Member) -> Predictions:
  path = member.folder.predictions
  try:
    return Predictions.load(path)
  except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise RunError(f'{path} cannot be read: {error}. Delete {member.folder.results} and run the sweep again: it tests '
                   'that member again') from error

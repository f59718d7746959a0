"""Subsets of a model's channels, and the choice of those that are evaluated."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from mils_jax.channels import split_names
from mils_jax.config import Section, option
from mils_jax.errors import UserError

Subset = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Section):
  """Which channel subsets are evaluated. This does not affect training, so it may differ when a run is evaluated."""

  section: ClassVar[str] = 'evaluation'

  all_subsets_up_to: int = option(8, 'evaluate all subsets of up to this many channels, a selection beyond', low=0)
  sampled_subsets: int = option(100, 'maximum number of random subsets when there are too many to evaluate all', low=0)
  seed: int = option(0, 'random seed for sampling channel subsets', low=0)
  subsets: str = option('', "evaluate only these channel subsets, such as 'red,green,blue; nir'; empty: all or a "
                        'selection')


def select_subsets(channels: Sequence[str], options: EvaluationOptions, named: Sequence[Subset] = ()) -> list[Subset]:
  """The subsets that the options name, else all non-empty ones, smaller ones first, in the channels' order.

  With too many channels for all subsets, these are each channel alone, all but one, all, those in `named`, and others
  drawn from a seed: first the size, uniformly, then the channels.
  """
  if options.subsets:
    asked = read_subsets(options.subsets, channels)
    return sorted(asked, key=lambda subset: (len(subset), [channels.index(name) for name in subset]))
  count = len(channels)
  if count <= max(options.all_subsets_up_to, 1):
    return [subset for size in range(1, count + 1) for subset in itertools.combinations(channels, size)]
  chosen: set[tuple[int, ...]] = {*((position,) for position in range(count)), tuple(range(count)),
            *(tuple(position for position in range(count) if position != left_out) for left_out in range(count)),
            *(tuple(map(channels.index, subset)) for subset in named)}
  fixed, random = len(chosen), np.random.default_rng(options.seed)
  possible = 2**count - 1 if count < 63 else 2**63
  while len(chosen) < min(fixed + options.sampled_subsets, possible):
    size = random.integers(2, count - 1)
    chosen.add(tuple(int(position) for position in np.sort(random.choice(count, size, replace=False))))
  return [tuple(channels[position] for position in subset) for subset in sorted(chosen, key=lambda s: (len(s), s))]


def usual_subsets(channels: Sequence[str], groups: Sequence[Subset] = ()) -> list[Subset]:
  """The subsets that specialists are usually trained for, the largest first, in the channels' own order.

  With up to three channels these are all subsets; with more, all channels, all but one, each named group, each pair of
  groups, and each channel alone.
  """
  if len(channels) <= 3:
    found = {subset for size in range(1, len(channels) + 1) for subset in itertools.combinations(channels, size)}
  else:
    pairs = [first + second for first, second in itertools.combinations(groups, 2)]
    without = [tuple(name for name in channels if name != left_out) for left_out in channels]
    chosen = [tuple(channels), *without, *groups, *pairs, *((name,) for name in channels)]
    found = {tuple(name for name in channels if name in subset) for subset in chosen}
  return sorted(found, key=lambda subset: (-len(subset), [list(channels).index(name) for name in subset]))


def read_subsets(text: str, channels: Sequence[str]) -> list[Subset]:
  """Reads 'red,blue; nir' as subsets in the channels' own order.

  Raises:
    UserError: as `check_subset`, or a subset is given twice.
  """
  subsets = []
  for part in filter(None, map(str.strip, text.split(';'))):
    names = (part,) if part in channels else split_names(part, single_letters=set(part) <= set(channels))
    check_subset(names, channels)
    if len(set(names)) < len(names):
      raise UserError(f"the subset '{part}' names a channel twice")
    subsets.append(tuple(name for name in channels if name in names))
  twice = [subset for subset in subsets if subsets.count(subset) > 1]
  if twice:
    raise UserError(f"the subset '{','.join(twice[0])}' is given twice")
  return subsets


def subset_masks(subsets: Iterable[Subset], channels: Sequence[str]) -> tuple[tuple[bool, ...], ...]:
  """Which of the channels are in each subset."""
  return tuple(tuple(name in subset for name in channels) for subset in subsets)


def subset_name(channels: Sequence[str]) -> str:
  """The name of a subset: 'RGB' for channels with one-letter names, else 'red+nir'."""
  return ('' if all(len(channel) == 1 for channel in channels) else '+').join(channels)


def check_subset(subset: Subset, channels: Sequence[str]) -> None:
  """Raises UserError for a subset that is empty or has a channel that is not in `channels`."""
  unknown = [name for name in subset if name not in channels]
  if unknown or not subset:
    what = f"names '{unknown[0]}', which is no channel here" if unknown else 'names no channel'
    raise UserError(f"the subset '{','.join(subset)}' {what}. Valid: {', '.join(channels)}")

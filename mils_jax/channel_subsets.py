"""Subsets of a model's channels, and the choice of those that are evaluated."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from mils_jax.channels import split_names
from mils_jax.config import Section, option
from mils_jax.errors import UserError

Subset = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Section, section='evaluation'):
  """Which channel subsets are evaluated. This does not affect training, so it may differ when a run is evaluated."""

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
    return in_order(read_subsets(options.subsets, channels), channels)
  count = len(channels)
  if count <= max(options.all_subsets_up_to, 1):
    return [subset for size in range(1, count + 1) for subset in itertools.combinations(channels, size)]
  chosen, random = {*_around(channels), *named}, np.random.default_rng(options.seed)
  most = min(len(chosen) + options.sampled_subsets, 2**count - 1)
  while len(chosen) < most:
    size = random.integers(2, count - 1)
    chosen.add(tuple(channels[int(position)] for position in np.sort(random.choice(count, size, replace=False))))
  return in_order(chosen, channels)


def usual_subsets(channels: Sequence[str], groups: Sequence[Subset] = ()) -> list[Subset]:
  """The subsets that say most of the channels, the largest first: what specialists are usually trained for.

  With up to three channels these are all subsets; with more, all channels, all but one, each named group, each pair of
  groups, and each channel alone.
  """
  pairs = (first + second for first, second in itertools.combinations(groups, 2))
  named = {tuple(name for name in channels if name in subset) for subset in (*groups, *pairs)}
  return largest_first({*_around(channels), *named}, channels)


def _around(channels: Sequence[str]) -> set[Subset]:
  """All channels, all but one, and each alone: of up to three channels every subset."""
  sizes = {len(channels), len(channels) - 1, 1} - {0}
  return {subset for size in sizes for subset in itertools.combinations(channels, size)}


def in_order(subsets: Iterable[Subset], channels: Sequence[str]) -> list[Subset]:
  """Each subset once, smaller ones first, those of one size in the order of the channels."""
  return sorted(set(subsets), key=lambda subset: (len(subset), [channels.index(name) for name in subset]))


def largest_first(subsets: Iterable[Subset], channels: Sequence[str]) -> list[Subset]:
  """Each subset once, larger ones first."""
  return sorted(in_order(subsets, channels), key=len, reverse=True)  # keeps the order of equals


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
  if text and not subsets:
    raise UserError(f"'{text}' names no subset; expected channels, as in {channels[0]}; {','.join(channels)}")
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

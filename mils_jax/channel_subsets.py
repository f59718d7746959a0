"""Subsets of a model's channels: which ones an evaluation looks at."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mils_jax.config import Section, option
from mils_jax.errors import UserError

Subset = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(Section):
  """Which channel subsets are evaluated. Changes no training: may differ when a run is looked at again."""

  section: ClassVar[str] = 'evaluation'

  all_subsets_up_to: int = option(8, 'channels up to which every subset is evaluated; of more: each channel alone, '
                                  'all but one, all, and a sample of others', low=0)
  sampled_subsets: int = option(100, 'how many others, at most', low=0)
  seed: int = option(0, 'of their choice', low=0)


def select_subsets(channels: Sequence[str], options: EvaluationOptions) -> list[Subset]:
  """All non-empty subsets, smaller ones first, in the channels' own order.

  Of too many channels: every single one, every set that lacks one, the full set, and others drawn from a seed, their
  size first, each as likely as the other.
  """
  count = len(channels)
  if count <= max(options.all_subsets_up_to, 1):
    return [subset for size in range(1, count + 1) for subset in itertools.combinations(channels, size)]
  chosen: set[tuple[int, ...]] = {*((place,) for place in range(count)), tuple(range(count)),
            *(tuple(place for place in range(count) if place != left_out) for left_out in range(count))}
  fixed, random = len(chosen), np.random.default_rng(options.seed)
  possible = 2**count - 1 if count < 63 else 2**63
  while len(chosen) < min(fixed + options.sampled_subsets, possible):
    size = random.integers(2, count - 1)
    chosen.add(tuple(int(place) for place in np.sort(random.choice(count, size, replace=False))))
  return [tuple(channels[place] for place in subset) for subset in sorted(chosen, key=lambda s: (len(s), s))]


def check_subset(subset: Subset, channels: Sequence[str]) -> None:
  """Raises UserError for a subset that is empty or has a channel that is none of `channels`."""
  unknown = [name for name in subset if name not in channels]
  if unknown or not subset:
    what = f"names '{unknown[0]}', which the run was not given" if unknown else 'names no channel'
    raise UserError(f"the subset '{','.join(subset)}' {what}. Valid: {', '.join(channels)}")

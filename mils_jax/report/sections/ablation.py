"""An ablation: each run of a sweep against the first, over all channel subsets, beside the noise of seeds."""

import math

import numpy as np
from scipy import special

from mils_jax import invocation
from mils_jax.channel_subsets import Subset, subset_name
from mils_jax.metrics import Accuracy, MeanDifference, SeedSpread, holm
from mils_jax.metrics.paired import LEVEL
from mils_jax.progress import counted
from mils_jax.report.document import Block, Section, Table, Text
from mils_jax.report.groups import Group
from mils_jax.report.text import accuracy_text, interval_text, p_cell, percent, points_text, spread_text

COLUMNS = ['run', 'all channels', 'mean over subsets', 'over seeds', 'worst subset', 'difference of the mean',
           '95% interval', 'p by Holm', 'larger than noise']


def ablation_section(groups: list[Group]) -> Section:
  """A table for each sweep of the kind 'ablation'."""
  sweeps = {group.sweep.path: group.sweep for group in groups if group.sweep and group.sweep.table == 'ablation'}
  blocks: list[Block] = []
  for path, sweep in sweeps.items():
    runs = [group for group in groups if group.sweep and group.sweep.path == path]
    without = [group.label for group in runs if not _complete(group)]
    if without:
      blocks.append(Text(f'Not evaluated on channel subsets: {", ".join(without)}. '
                         f'{invocation.mode("subsets")} does it.'))
    if len(runs) > len(without):
      blocks.append(_table([group for group in runs if _complete(group)], sweep.first))
  return Section('Ablation', blocks)


def _complete(group: Group) -> dict[Subset, np.ndarray]:
  """By subset, (seeds, N) bool: correct predictions on the subsets that all seeds were evaluated on."""
  return {subset: correct for subset, correct in group.subset_correct.items() if len(correct) == len(group.runs)}


def _table(groups: list[Group], first: str) -> Table:
  own = {group.label: _complete(group) for group in groups}
  subsets = [subset for subset in own[groups[0].label] if all(subset in found for found in own.values())]
  correct = {label: np.stack([found[subset] for subset in subsets], axis=1) for label, found in own.items()}
  spreads = {label: SeedSpread(tuple(found.mean(axis=(1, 2)).tolist())) for label, found in correct.items()}
  reference = next((group.label for group in groups if group.name_in_sweep == first), None)
  differences = {label: MeanDifference.of(*(one.reshape(-1, one.shape[2]) for one in (found, correct[reference])))
                 for label, found in correct.items() if reference not in (None, label)}
  adjusted = dict(zip(differences, holm([one.p_value for one in differences.values()]), strict=True))
  rows = []
  for group in groups:
    rates = correct[group.label].mean(axis=(0, 2))  # (S,)
    worst, found, spread = int(rates.argmin()), differences.get(group.label), spreads[group.label]
    count = correct[group.label].shape[2]
    noise = seed_noise(spreads[reference], len(group.runs)) if reference else 0.0
    rows.append([
        group.label, accuracy_text(group.accuracy), percent(spread.mean), spread_text(spread),
        f'{accuracy_text(Accuracy(rates[worst] * count, count))} {subset_name(subsets[worst])}',
        *([points_text(found.difference), interval_text(found.interval(), signed=True), p_cell(adjusted[group.label]),
           'yes' if adjusted[group.label] < LEVEL and abs(found.difference) > noise else 'no']
          if found else [''] * 4)])
  return Table(f'Each run over the same {counted(len(subsets), "channel subset")}. {_explain(reference, spreads)}',
               COLUMNS, rows)


def _explain(reference: str | None, spreads: dict[str, SeedSpread]) -> str:
  if reference is None or len(spreads) == 1:
    return 'Differences need the first run of the sweep and another one to be finished.'
  spread = spreads[reference]
  noise = '; what another seed would change is not in it, as there is only one of the first run'
  if len(spread.values) > 1:
    noise = (f' and a difference beyond what seeds alone bring about: {reference} has a std of {100 * spread.std:.2f} '
             f'points over its seeds, so a single run may lie {100 * seed_noise(spread, 1):.2f} points from their mean '
             '(95%, Student\'s t)')
  return (f'Differences of the mean over subsets are to {reference}, in points, with Bonett and Price\'s interval over '
          f'test images. Larger than noise: p by Holm below {LEVEL}{noise}.')


def seed_noise(reference: SeedSpread, runs: int) -> float:
  """How far the mean of `runs` runs may lie from the reference by the choice of seeds alone (95%); 0 for one seed."""
  seeds = len(reference.values)
  if seeds < 2:
    return 0.0
  return float(-special.stdtrit(seeds - 1, 0.025)) * reference.std * math.sqrt(1 / seeds + 1 / runs)

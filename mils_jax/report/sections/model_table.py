"""A table in the form of Table II: models with their cost and accuracy, and tests of their differences."""

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from mils_jax.metrics import RelativeAccuracy, holm, verdict
from mils_jax.metrics.paired import LEVEL, p_text
from mils_jax.report.document import Block, Figure, Figures, Points, Section, Table, Text
from mils_jax.report.figure_style import LINE, drawing, legend_below, looks, to_svg
from mils_jax.report.groups import BASELINE, Group, reference_of
from mils_jax.report.published import COUNT, EPOCHS, IMAGE_SIZE, MODELS, judge_share
from mils_jax.report.text import (
  DIFFERENCE,
  accuracy_text,
  difference_cells,
  p_cell,
  percent,
  share_text,
  short,
  spread_text,
)

COSTS = {'macs': 'multiply-adds (MACs) per image', 'parameters': 'parameters'}


def models_section(groups: list[Group]) -> Section:
  """Tables and figures of the models that see all their channels."""
  groups = [group for group in groups if group.sees_all]
  if not groups:
    return Section('Models', [])
  reference = reference_of(groups)
  blocks: list[Block] = [_table(groups, reference)]
  if len(groups) > 1:
    blocks.append(Figures([accuracy_by_cost(groups, cost) for cost in COSTS]))
  blocks.append(_scores(groups))
  if len(groups) > 1 and reference:
    blocks += comparisons(groups, reference)
  elif len(groups) > 1:
    blocks.append(Text('Nothing is compared: the first run of the sweep is not finished.'))
  return Section('Models', blocks)


def _table(groups: list[Group], reference: Group | None) -> Table:
  baseline = reference if reference and (reference.title == BASELINE or reference.name_in_sweep) else None
  rows = []
  for group in groups:
    share = '' if baseline is None else share_text(group.share_of(baseline)) if group is not baseline else percent(1, 0)
    rows.append([group.label, accuracy_text(group.accuracy), spread_text(group.spread), share,
                 *(short(group.size(name)) for name in ('macs', 'flops', 'parameters'))])
  for title in dict.fromkeys(group.title for group in groups):
    if title in MODELS:
      row = MODELS[title]
      share = percent(1, 0) if title == BASELINE else share_text(
          RelativeAccuracy.unpaired(row.accuracy, MODELS[BASELINE].accuracy))
      rows.append([f'{title}, as published', accuracy_text(row.accuracy), 'one seed',
                   share if baseline is None or baseline.title == BASELINE else '', short(row.macs),
                   short(2 * row.macs), short(row.parameters)])
  columns = ['model', 'accuracy', 'over seeds', f'share of {baseline.label if baseline else BASELINE}', 'MACs',
             'FLOPs (2 x MACs)', 'parameters']
  if not any(row[3] for row in rows):
    columns, rows = [*columns[:3], *columns[4:]], [[*row[:3], *row[4:]] for row in rows]
  published = ('' if len(rows) == len(groups) else ' The published rows are of other images '
               f'({COUNT} to test, {IMAGE_SIZE}x{IMAGE_SIZE}, {EPOCHS} epochs): compare their pattern with ours, not '
               'their numbers. The published Table II prints MACs as FLOPs.')
  return Table('Accuracy and cost, in the form of Table II. Brackets hold the 95% interval for the choice of test '
               'images (Wilson); the spread over seeds stands apart from it. The cost is that of one image.'
               f'{published}', columns, rows)


def _scores(groups: list[Group]) -> Table:
  more = len(groups[0].classes) > 5  # else the top-5 accuracy is always 100%
  rows = [[group.label, percent(group.scores.balanced_accuracy), percent(group.scores.macro_f1),
           *([percent(group.scores.top(5).rate)] if more else []), f'{group.scores.loss:.3f}',
           f'{group.scores.brier:.3f}', f'{100 * group.scores.calibration.error:.1f}'] for group in groups]
  return Table('Other scores of the same predictions, all seeds together. Balanced: the mean of the accuracies of the '
               'classes. The last three judge the probabilities (negative log-likelihood, Brier score, expected '
               'calibration error); lower is better.',
               ['model', 'balanced', 'macro F1', *(['top 5'] if more else []), 'NLL, nats', 'Brier score',
                'ECE, points'], rows)


def comparisons(groups: list[Group], reference: Group) -> list[Block]:
  """Compares every other group with the reference on the same test images: a table, and a sentence for each."""
  others = [group for group in groups if group is not reference]
  found = [group.against(reference) for group in others]
  adjusted = holm([one.p_value for one in found])
  rows = [[group.label, *difference_cells(one), p_cell(p_value), f'{100 * one.smallest_detectable:.1f}']
          for group, one, p_value in zip(others, found, adjusted, strict=True)]
  number = 'is one comparison' if len(others) == 1 else f'are {len(others)} comparisons'
  several = any(len(group.runs) > 1 for group in groups)
  method = 'exact McNemar test and Newcombe\'s score interval (method 10) for single runs'
  if several:
    method += '; Bonett and Price\'s interval over test images for means over seeds, the trained networks being fixed'
  return [
      Table(f'Paired differences to {reference.label} on the same {reference.correct.shape[1]} test images, in '
            f'points: {method}. Holm\'s p takes into account that there {number}. A difference '
            'below the last column could not have been told from chance on this test set.',
            ['model', *DIFFERENCE, 'p by Holm', 'smallest detectable'], rows),
      Points([f'{verdict(one, group.label, reference.label)}.{_holm_note(one.distinguishable, p_value)} '
              f'{_price(group, reference)}' for group, one, p_value in zip(others, found, adjusted, strict=True)]),
      *([] if not several else [Text('Intervals over test images tell nothing about other seeds: where the spread over '
                                     'seeds is as large as a difference, the seeds alone may explain it.')]),
  ]


def _holm_note(distinguishable: bool, adjusted: float) -> str:
  if distinguishable and adjusted >= LEVEL:
    return f' It is not when all comparisons of the table are taken into account ({p_text(adjusted)} by Holm).'
  return ''


def _price(group: Group, reference: Group) -> str:
  """A sentence on the share of the reference's accuracy that the group reaches, and on its share of the cost."""
  share = group.share_of(reference)
  macs, parameters = (group.size(name) / reference.size(name) for name in ('macs', 'parameters'))
  return (f'It reaches {share_text(share)} of its accuracy ({judge_share(share)}) with {macs:.2f} times the MACs and '
          f'{parameters:.2f} times the parameters.')


def front(costs: Sequence[float], rates: Sequence[float]) -> list[int]:
  """Indices, by ascending cost, of the points that no other point dominates (as cheap and as good, better in one)."""
  found, best = [], -np.inf
  for index in sorted(range(len(costs)), key=lambda index: (costs[index], -rates[index])):
    if rates[index] > best:
      found.append(index)
      best = rates[index]
  return found


def _side_by_side(costs: Sequence[float]) -> list[float]:
  """The costs, with equal ones spread around the true one, by a visible step on the logarithmic axis."""
  step = 0.02 * (math.log10(max(costs) / min(costs)) + 0.3)
  equals = defaultdict(list)
  for index, cost in enumerate(costs):
    equals[cost].append(index)
  return [cost * 10 ** (step * (equals[cost].index(index) - (len(equals[cost]) - 1) / 2))
          for index, cost in enumerate(costs)]


def accuracy_by_cost(groups: list[Group], cost: str) -> Figure:
  """A figure of accuracy with its interval against 'macs' or 'parameters', and of the Pareto front."""
  costs, rates = [group.size(cost) for group in groups], [group.accuracy.rate for group in groups]
  best = front(costs, rates)
  figure, (axes,) = drawing(3.4 + 0.12 * len(groups))
  axes.step([costs[index] for index in best], [100 * rates[index] for index in best], where='post', color=LINE,
            linewidth=3, zorder=1, label='front: nothing cheaper is better')
  for group, (colour, marker), x, y in zip(groups, looks(len(groups)), _side_by_side(costs), rates, strict=True):
    low, high = group.accuracy.interval()
    axes.errorbar(x, 100 * y, [[100 * (y - low)], [100 * (high - y)]], color=colour, marker=marker, capsize=3,
                  linestyle='none', label=group.label)
  axes.set_xscale('log')
  axes.margins(x=0.15)
  low, high = axes.get_xlim()
  ticks = [digit * 10.0 ** power for power in range(4, 14) for digit in (1, 2, 5)]
  if sum(low <= tick <= high for tick in ticks) < 2:  # for models of nearly equal cost
    ticks = MaxNLocator(4).tick_values(low, high)
  axes.set_xticks([tick for tick in ticks if low <= tick <= high])
  axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
  axes.xaxis.set_minor_formatter(NullFormatter())
  axes.set_xlim(low, high)
  axes.set_xlabel(f'{COSTS[cost]}, logarithmic')
  axes.set_ylabel('test accuracy, %')
  legend_below(figure, axes)
  equal = '; models of equal cost stand side by side' if len(set(costs)) < len(costs) else ''
  undominated = ', '.join(groups[index].label for index in best)
  listed = '; '.join(f'{group.label}: {short(x)}, {accuracy_text(group.accuracy)}'
                     for group, x in zip(groups, costs, strict=True))
  return Figure(f'accuracy-{cost}', to_svg(figure),
                f'Test accuracy against {COSTS[cost]}; further left and higher is better. Bars are 95% intervals for '
                f'the choice of test images{equal}. Nothing shown is both cheaper and better than: {undominated}.',
                f'Scatter of test accuracy against {COSTS[cost]}. {listed}.')

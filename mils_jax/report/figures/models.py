"""Accuracy against what it costs."""

import math
from collections import defaultdict

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from mils_jax.report.document import Figure
from mils_jax.report.figure_style import drawing, legend_below, line, looks, to_svg
from mils_jax.report.formats import accuracy_text, short
from mils_jax.report.groups import Group

COSTS = {'macs': 'multiply-adds (MACs) per image', 'parameters': 'parameters'}


def front(costs: list[float], rates: list[float]) -> list[int]:
  """Indices, from cheap to dear, of the points that no other dominates (as cheap and as good, and better in one)."""
  found, best = [], -np.inf
  for index in sorted(range(len(costs)), key=lambda index: (costs[index], -rates[index])):
    if rates[index] > best:
      found.append(index)
      best = rates[index]
  return found


def _side_by_side(costs: list[float]) -> list[float]:
  """The costs, equal ones moved apart about the true place, by a step that is seen on the logarithmic axis."""
  step = 0.02 * (math.log10(max(costs) / min(costs)) + 0.3)
  equals = defaultdict(list)
  for index, cost in enumerate(costs):
    equals[cost].append(index)
  return [cost * 10 ** (step * (equals[cost].index(index) - (len(equals[cost]) - 1) / 2))
          for index, cost in enumerate(costs)]


def accuracy_by_cost(groups: list[Group], cost: str) -> Figure:
  """Accuracy with its interval against 'macs' or 'parameters', and the front that nothing dominates."""
  costs, rates = [group.size(cost) for group in groups], [group.accuracy.rate for group in groups]
  best = front(costs, rates)
  figure, (axes,) = drawing(3.4 + 0.12 * len(groups))
  stairs = sorted(best, key=lambda index: costs[index])
  axes.step([costs[index] for index in stairs], [100 * rates[index] for index in stairs], where='post',
            color=line(), linewidth=3, zorder=1, label='front: nothing cheaper is better')
  for group, (colour, marker), x, y in zip(groups, looks(len(groups)), _side_by_side(costs), rates, strict=True):
    low, high = group.accuracy.interval()
    axes.errorbar(x, 100 * y, [[100 * (y - low)], [100 * (high - y)]], color=colour, marker=marker, capsize=3,
                  linestyle='none', label=group.label)
  axes.set_xscale('log')
  axes.margins(x=0.15)
  low, high = axes.get_xlim()
  ticks = [digit * 10.0 ** power for power in range(4, 14) for digit in (1, 2, 5)]
  if sum(low <= tick <= high for tick in ticks) < 2:  # models that cost nearly the same
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
                f'Test accuracy against {COSTS[cost]}; further left and higher is better. Bars are 95% intervals of '
                f'the choice of test images{equal}. Nothing shown is both cheaper and better than: {undominated}.',
                f'Scatter of test accuracy against {COSTS[cost]}. {listed}.')

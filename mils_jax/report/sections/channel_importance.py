"""Channel importance: the gain of each channel over all the others, measured by --mode subsets."""

import numpy as np

from mils_jax.metrics import PairedDifference, holm
from mils_jax.metrics.paired import LEVEL
from mils_jax.report.document import Block, Figure, Figures, Section, Table
from mils_jax.report.figure_style import COLOURS, LINE, drawing, to_svg
from mils_jax.report.groups import Group
from mils_jax.report.text import DIFFERENCE, difference_cells, p_cell


def importance_section(groups: list[Group]) -> Section:
  """The channel importance of every model that was evaluated with each channel left out."""
  blocks: list[Block] = []
  for number, group in enumerate(groups):
    subsets = group.runs[0].subsets or {}
    found = {one['channel']: PairedDifference.from_json(one['difference']) for one in subsets.get('importance', ())}
    if found:
      blocks += [Figures([channel_importance(group.label, found, str(number))]), _table(group, found)]
  return Section('Channel importance', blocks)


def _table(group: Group, found: dict[str, PairedDifference]) -> Table:
  adjusted = holm([one.p_value for one in found.values()])
  rows = [[channel, *difference_cells(one), p_cell(p_value)]
          for (channel, one), p_value in zip(found.items(), adjusted, strict=True)]
  return Table(f'{group.label}: points of accuracy that each channel adds to all the others, paired on the same test '
               'images (Newcombe\'s interval, exact McNemar test).',
               ['channel', *DIFFERENCE, 'p by Holm'], rows)


def channel_importance(label: str, found: dict[str, PairedDifference], name: str) -> Figure:
  """A figure of the accuracy lost when one channel is left out."""
  ordered = sorted(found.items(), key=lambda item: -item[1].difference)
  points = np.array([100 * one.difference for _, one in ordered])
  ends = np.array([[100 * end for end in one.interval()] for _, one in ordered])
  figure, (axes,) = drawing(1.2 + 0.3 * len(ordered))
  axes.axvline(0, color=LINE, linewidth=2.5, zorder=1)
  axes.errorbar(points, range(len(ordered)), xerr=np.abs(ends.T - points), color=COLOURS[0], marker='o',
                linestyle='none', capsize=3)
  axes.set_yticks(range(len(ordered)), [channel for channel, _ in ordered])
  axes.set_ylim(len(ordered) - 0.5, -0.5)
  axes.set_xlabel('points of accuracy that it adds to all the others')
  adjusted = holm([one.p_value for _, one in ordered])
  sure = [channel for (channel, _), p_value in zip(ordered, adjusted, strict=True) if p_value < LEVEL]
  listed = '; '.join(f'{channel} {value:+.1f} points' for (channel, _), value in zip(ordered, points, strict=True))
  return Figure(f'importance-{name}', to_svg(figure),
                f'{label}: channel importance (leave one out), the paired difference between all channels and all but '
                'this one, with Newcombe\'s 95% interval. Distinguishable from 0 (exact McNemar test, p by Holm over '
                f'all channels): {", ".join(sure) or "none"}.',
                f'Dots with intervals by channel. {listed}.')

"""Table I's form: what each subset of the channels gives, by specialists and by one model for all."""

import dataclasses

from mils_jax.metrics import MeanDifference, PairedDifference, holm
from mils_jax.report.document import Block, Figures, Section, Table
from mils_jax.report.figures.channels import accuracy_by_subset, attention, worth_of_channels
from mils_jax.report.formats import (
  accuracy_text,
  interval_text,
  p_cell,
  percent,
  points_text,
  short,
  subset_name,
  subsets_in_order,
)
from mils_jax.report.groups import Group
from mils_jax.report.published import CHANNELS
from mils_jax.report.specialists import Gaps, Series, mean_gap, subset_gaps, subset_series

BESIDE = 4  # columns or colours of accuracies beside each other
MOST = 40  # rows of a table; of more subsets, those are listed that were measured by most models, largest first


def channels_section(groups: list[Group]) -> Section:
  """Networks whose channels vary: Task A's own, those that saw only some channels, those measured over subsets."""
  blocks: list[Block] = []
  for title in dict.fromkeys(group.title for group in groups):
    blocks += _of_network(title, [group for group in groups if group.title == title])
  return Section('Channels', blocks)


def _of_network(title: str, groups: list[Group]) -> list[Block]:
  series = subset_series(groups)
  measured = {subset for found in series.values() for subset in found}
  if title != 'DynamicResNet12' and len(measured) < 2:
    return []
  parts = [dict(list(series.items())[start:start + BESIDE]) for start in range(0, len(series), BESIDE)]
  tables = [_table(title, groups, part) for part in parts]
  figures = [accuracy_by_subset(part, groups[0].input_channels) for part in parts] if len(measured) > 1 else []
  blocks: list[Block] = [_gap_table(group, gaps) for group in groups if (gaps := subset_gaps(group, groups))]
  for group in groups:
    run = group.runs[0]
    if run.subsets and run.subsets.get('worth'):
      worth = {one['channel']: PairedDifference.from_json(one['difference']) for one in run.subsets['worth']}
      figures.append(worth_of_channels(group.label, worth))
      blocks.append(_worth_table(group, worth))
    if run.diagnostics and run.diagnostics.get('subsets'):
      figures.append(attention(group.label, run.diagnostics['subsets']))
      blocks.append(_attention_table(group, run.diagnostics['subsets']))
  named = [dataclasses.replace(figure, name=f'{figure.name}-{title.lower()}-{number}')  # several networks may have one
           for number, figure in enumerate(figures)]
  return [*tables, *([Figures(named)] if named else []), *blocks]


def _table(title: str, groups: list[Group], series: Series) -> Table:
  subsets = {subset for found in series.values() for subset in found}
  order = sorted(subsets, key=lambda subset: (-sum(subset in found for found in series.values()), -len(subset),
                                              subset))
  published = CHANNELS if title == 'DynamicResNet12' and any(frozenset(subset) in CHANNELS for subset in order) else {}
  rows = []
  for subset in subsets_in_order(order[:MOST], groups[0].input_channels):
    row = [subset_name(subset), *(accuracy_text(found[subset]) if subset in found else '' for found in series.values())]
    if published:
      known = published.get(frozenset(subset))
      row.append(accuracy_text(known.accuracy) if known else '')
    rows.append([*row, *(short(groups[0].size(name)) for name in ('macs', 'flops', 'parameters'))])
  left = f' {len(order) - MOST} more subsets are in the image and in subsets.json.' if len(order) > MOST else ''
  convention = ('' if not published else ' The published FLOPs of Table I, 2.637 G at 84x84, are 2 x MACs; published '
                'accuracies are of other images, beside ours for their form.')
  return Table(f'Table I form, {title}: test accuracy by the channels that were there, with 95% Wilson intervals. The '
               f'cost is the same for every subset: missing channels are padded.{convention}{left}',
               ['channels', *series, *(['published'] if published else []), 'MACs', 'FLOPs (2 x MACs)', 'parameters'],
               rows)


def _gap_table(group: Group, gaps: Gaps) -> Table:
  order = subsets_in_order(gaps, group.input_channels)
  adjusted = holm([gaps[subset].difference.p_value for subset in order])
  rows = [[subset_name(subset), percent(float(gaps[subset].specialist.mean())), percent(float(gaps[subset].own.mean())),
           *_difference_cells(gaps[subset].difference), p_cell(p_value)]
          for subset, p_value in zip(order, adjusted, strict=True)]
  rows.append(['mean', '', '', *_difference_cells(mean_gap(gaps)), ''])
  return Table(f'{group.label} against a specialist for each subset, on the same test images, in points; below 0 the '
               'specialist is better. Single runs: Newcombe\'s interval and the exact McNemar test; means over '
               'seeds or subsets: Bonett and Price\'s, over test images, the networks as they are.',
               ['channels', 'specialist', 'one model', 'difference', '95% interval', 'p', 'p by Holm'], rows)


def _difference_cells(found: PairedDifference | MeanDifference) -> list[str]:
  return [points_text(found.difference), interval_text(found.interval(), signed=True), p_cell(found.p_value)]


def _worth_table(group: Group, worth: dict[str, PairedDifference]) -> Table:
  adjusted = holm([found.p_value for found in worth.values()])
  rows = [[channel, *_difference_cells(found), p_cell(p_value)]
          for (channel, found), p_value in zip(worth.items(), adjusted, strict=True)]
  return Table(f'{group.label}: points of accuracy that each channel adds to all the others, paired on the same test '
               'images (Newcombe\'s interval, exact McNemar test).',
               ['channel', 'points', '95% interval', 'p', 'p by Holm'], rows)


def _attention_table(group: Group, subsets: list[dict]) -> Table:
  whole = subsets[-1]
  rows = [[layer['layer'], *(f'{layer[name]:.3f}' if layer.get(name) is not None else ''
                             for name in ('entropy_of_mean', 'mean_entropy', 'logit_change_if_frozen'))]
          for layer in whole['layers']]
  return Table(f'{group.label}: attention over kernels with {subset_name(tuple(whole["channels"]))}, by layer. Equal '
               'entropies mean that the attention hardly depends on the image; ln K means that it is even.',
               ['layer', 'entropy of the mean, nats', 'mean entropy, nats', 'change of logits if frozen'], rows)


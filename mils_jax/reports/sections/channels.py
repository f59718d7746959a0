"""Table I's form: what each subset of the channels gives, by specialists and by one model for all."""

import dataclasses

from mils_jax.evaluation.statistics import Accuracy, PairedDifference
from mils_jax.reports.document import Block, Figures, Section, Table
from mils_jax.reports.figures.channels import Series, accuracy_by_subset, attention, worth_of_channels
from mils_jax.reports.groups import Group, config_differences
from mils_jax.reports.published import CHANNELS
from mils_jax.reports.wording import (
  accuracy_text,
  interval_text,
  p_text,
  points_text,
  short,
  subset_name,
  subsets_in_order,
  unbroken,
)

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
  blocks: list[Block] = [_table(title, groups, series)]
  figures = [accuracy_by_subset(series, groups[0].slots)] if len(measured) > 1 else []
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
  return [blocks[0], *([Figures(named)] if named else []), *blocks[1:]]


def subset_series(groups: list[Group]) -> Series:
  """Accuracies by subset: of specialists of one recipe together, and of each single model that was measured on many."""
  series: Series = {}
  recipes: dict[str, list[Group]] = {}
  for group in groups:
    if group.runs[0].config['channels'].get('sampling', 'none') == 'none':
      recipes.setdefault(_recipe(group, groups[0]), []).append(group)
  for recipe, members in recipes.items():
    name = 'trained for the subset' + (f' ({recipe})' if len(recipes) > 1 and recipe else '')
    series[name] = {group.channels: group.accuracy for group in members}
  for group in groups:
    subsets = group.runs[0].subsets
    if subsets:
      series[f'one model: {group.label}'] = {
          tuple(one['channels']): Accuracy(one['correct'], one['count']) for one in subsets['subsets']}
  return series


def _recipe(group: Group, first: Group) -> str:
  """What sets a configuration apart from the first one, but for its channels and seed."""
  changes = config_differences(group.runs[0].config, first.runs[0].config)
  return ', '.join(change for change in changes if not change.startswith(('channels.use=', 'train.seed=')))


def _table(title: str, groups: list[Group], series: Series) -> Table:
  subsets = {subset for found in series.values() for subset in found}
  order = sorted(subsets, key=lambda subset: (-sum(subset in found for found in series.values()), -len(subset),
                                              subset))
  published = CHANNELS if title == 'DynamicResNet12' and any(frozenset(subset) in CHANNELS for subset in order) else {}
  rows = []
  for subset in subsets_in_order(order[:MOST], groups[0].slots):
    row = [subset_name(subset), *(accuracy_text(found[subset]) if subset in found else '' for found in series.values())]
    if published:
      known = published.get(frozenset(subset))
      row.append(accuracy_text(known.accuracy) if known else '')
    rows.append([*row, *(short(groups[0].size(name)) for name in ('macs', 'flops', 'parameters'))])
  left = f' {len(order) - MOST} more subsets are in the picture and in subsets.json.' if len(order) > MOST else ''
  convention = ('' if not published else ' The published FLOPs of Table I, 2.637 G at 84x84, are 2 x MACs; published '
                'accuracies are of other pictures, beside ours for their form.')
  return Table(f'Table I form, {title}: test accuracy by the channels that were there, with 95 % Wilson intervals. The '
               f'cost is the same for every subset: absent channels are padded.{convention}{left}',
               ['channels', *series, *(['published'] if published else []), 'MACs', 'FLOPs (2 x MACs)', 'parameters'],
               rows)


def _worth_table(group: Group, worth: dict[str, PairedDifference]) -> Table:
  rows = [[channel, points_text(found.difference), interval_text(found.interval(), signed=True),
           unbroken(p_text(found.p_value))] for channel, found in worth.items()]
  return Table(f'{group.label}: points of accuracy that each channel adds to all the others, paired on the same test '
               'pictures (Newcombe\'s interval, exact McNemar test).',
               ['channel', 'points', '95 % interval', 'p'], rows)


def _attention_table(group: Group, subsets: list[dict]) -> Table:
  rows = [[subset_name(tuple(subset['channels'])), layer['layer'],
           *(f'{layer[name]:.3f}' if layer.get(name) is not None else ''
             for name in ('entropy_of_mean', 'mean_entropy', 'logit_change_if_frozen'))]
          for subset in subsets[:1] for layer in subset['layers']]
  return Table(f'{group.label}: attention over kernels with the first subset, by layer. Equal entropies mean that '
               'the attention hardly depends on the picture; ln K means that it is even.',
               ['channels', 'layer', 'entropy of the mean, nats', 'mean entropy, nats', 'change of logits if frozen'],
               rows)


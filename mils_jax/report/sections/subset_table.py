"""A table in the form of Table I: accuracy by channel subset, of specialists and of one model for all, and the gap."""

import dataclasses

import numpy as np

from mils_jax.channel_subsets import Subset, largest_first, subset_name
from mils_jax.metrics import Accuracy, MeanDifference, holm, verdict
from mils_jax.progress import counted
from mils_jax.report.document import Block, Figure, Figures, Section, Table, Text
from mils_jax.report.figure_style import drawing, legend_below, looks, to_svg
from mils_jax.report.groups import Group, config_differences, difference_of
from mils_jax.report.published import CHANNELS
from mils_jax.report.text import (
  DIFFERENCE,
  accuracy_text,
  difference_cells,
  interval_text,
  p_cell,
  percent,
  points_text,
  short,
)

Series = dict[str, dict[Subset, Accuracy]]  # by the name in the legend
# By subset, (seeds, N) bool: correct predictions of one model, and of another that was made for this subset.
Gaps = dict[Subset, tuple[np.ndarray, np.ndarray]]
BESIDE = 4  # most columns or colours of accuracies side by side
MOST = 40  # most rows of a table; with more subsets, those that most models were evaluated on are listed, largest first
LISTED = 16  # most subsets that are drawn one by one


def channels_section(groups: list[Group]) -> Section:
  """Results of networks with varying channels: Task A's, those trained on some channels, those tested on subsets."""
  blocks: list[Block] = []
  for title in dict.fromkeys(group.title for group in groups):
    blocks += _of_network(title, [group for group in groups if group.title == title])
  return Section('Channels', blocks)


def _of_network(title: str, groups: list[Group]) -> list[Block]:
  series = subset_series(groups) | baseline_series(groups)
  evaluated = {subset for found in series.values() for subset in found}
  if title != 'DynamicResNet12' and len(evaluated) < 2:
    return []
  channels = tuple(dict.fromkeys(name for group in groups for name in group.input_channels))
  parts = [dict(list(series.items())[start:start + BESIDE]) for start in range(0, len(series), BESIDE)]
  blocks: list[Block] = [_table(title, groups, part, channels) for part in parts]
  if len(evaluated) > 1:
    blocks.append(Figures([accuracy_by_subset(part, channels, f'{title}-{number}')
                           for number, part in enumerate(parts)]))
  for group in groups:
    if gaps := subset_gaps(group, groups):
      blocks += [_gap_table(group, gaps, 'specialist'), Text(f'{gap_sentence(group, gaps)}. {_cost(group, groups)}')]
    for name in group.baselines:
      if gaps := baseline_gaps(group, name):
        blocks += [_gap_table(group, gaps, name), Text(f'{gap_sentence(group, gaps, name)}.')]
  return blocks


def subset_series(groups: list[Group]) -> Series:
  """Accuracies by subset: one series for the specialists of a recipe, and one for each model tested on many subsets."""
  recipes = _recipes(groups)
  series: Series = {}
  for recipe, members in recipes.items():
    name = 'trained for the subset' + (f' ({recipe})' if len(recipes) > 1 and recipe else '')
    series[name] = {subset: group.accuracy for subset, group in members.items()}
  generalists = [group for group in groups if group.subset_accuracy]
  for group in generalists:
    series['one model for all' + (f': {group.label}' if len(generalists) > 1 else '')] = group.subset_accuracy
  return series


def baseline_series(groups: list[Group]) -> Series:
  """Accuracies by subset of other methods, on the subsets of the model that they were written for."""
  series: Series = {}
  for group in groups:
    for name, correct in group.baselines.items():
      for subset, seeds in correct.items():
        series.setdefault(name, {}).setdefault(subset, Accuracy(float(seeds.sum(axis=1).mean()), seeds.shape[1]))
  return series


def _cost(group: Group, groups: list[Group]) -> str:
  """A sentence on the training cost of the one model and its specialists."""
  specialists = specialists_of(group, groups)
  together = sum(other.passes for other in specialists.values())
  return (f'It was trained for {counted(group.passes, "epoch")}, the {len(specialists)} '
          f'specialists for {together} together.')


def specialists_of(group: Group, groups: list[Group]) -> dict[Subset, Group]:
  """By subset, the model that was trained for it, from the recipe with the most such models."""
  return max(_recipes([other for other in groups if other is not group]).values(), key=len, default={})


def subset_gaps(group: Group, groups: list[Group]) -> Gaps:
  """Compares a model for all subsets with specialists of one recipe, on the subsets that it was evaluated on."""
  correct = group.subset_correct
  specialists = specialists_of(group, groups)
  if len(specialists) < 2:
    return {}
  return {subset: (correct[subset], other.correct) for subset, other in specialists.items() if subset in correct}


def baseline_gaps(group: Group, name: str) -> Gaps:
  """Compares a model for all subsets with another method, on the subsets that both were evaluated on."""
  return {subset: (group.subset_correct[subset], other) for subset, other in group.baselines[name].items()
          if subset in group.subset_correct}


def mean_gap(gaps: Gaps) -> MeanDifference:
  """The mean of the differences over subsets."""
  return MeanDifference.of(*(np.stack([correct.mean(axis=0) for correct in model])
                             for model in zip(*gaps.values(), strict=True)))


def gap_sentence(group: Group, gaps: Gaps, other: str = 'specialist') -> str:
  """A sentence on the mean difference to specialists, or to other models for one subset each, and on the worst."""
  differences = {subset: difference_of(*gap) for subset, gap in gaps.items()}
  worst, difference = min(differences.items(), key=lambda item: item[1].difference)
  return (f'Mean over {counted(len(gaps), "subset")}: {verdict(mean_gap(gaps), group.label, f"{other}s")}. The worst '
          f'is {points_text(difference.difference)} points {interval_text(difference.interval(), signed=True)} with '
          f'{subset_name(worst)}')


def _recipes(groups: list[Group]) -> dict[str, dict[Subset, Group]]:
  """Models that always saw the same channels, by their other differences from the first one, then by channels."""
  recipes: dict[str, dict[Subset, Group]] = {}
  fixed = [group for group in groups if group.runs[0].config['channel_dropout']['method'] == 'none']
  for group in fixed:
    changes = config_differences(group.runs[0].config, fixed[0].runs[0].config)
    changes = [change for change in changes if not change.startswith(('channels.use=', 'train.seed='))]
    recipe = ', '.join([*changes, *filter(None, [group.runs[0].origin])])
    recipes.setdefault(recipe, {})[group.channels] = group
  return recipes


def _table(title: str, groups: list[Group], series: Series, channels: tuple[str, ...]) -> Table:
  subsets = {subset for found in series.values() for subset in found}
  order = sorted(subsets, key=lambda subset: (-sum(subset in found for found in series.values()), -len(subset),
                                              subset))
  published = CHANNELS if title == 'DynamicResNet12' and any(frozenset(subset) in CHANNELS for subset in order) else {}
  rows = []
  for subset in largest_first(order[:MOST], channels):
    row = [subset_name(subset), *(accuracy_text(found[subset]) if subset in found else '' for found in series.values())]
    if published:
      known = published.get(frozenset(subset))
      row.append(accuracy_text(known.accuracy) if known else '')
    rows.append([*row, *(short(groups[0].size(name)) for name in ('macs', 'flops', 'parameters'))])
  more = counted(len(order) - MOST, 'more subset is', 'more subsets are')
  left = f' {more} in the figure and in subsets.json.' if len(order) > MOST else ''
  convention = ('' if not published else ' The published FLOPs of Table I, 2.637 G at 84x84, are 2 x MACs; published '
                'accuracies are of other images: compare their pattern with ours, not their numbers.')
  return Table(f'{title}: test accuracy by the channels that are given, in the form of Table I, with 95% Wilson '
               f'intervals. The cost is the same for every subset: missing channels are padded.{convention}{left}',
               ['channels', *series, *(['published'] if published else []), 'MACs', 'FLOPs (2 x MACs)', 'parameters'],
               rows)


def _gap_table(group: Group, gaps: Gaps, other: str) -> Table:
  order = largest_first(gaps, group.input_channels)
  differences = [difference_of(*gaps[subset]) for subset in order]  # below 0 where the other is better
  adjusted = holm([difference.p_value for difference in differences])
  rows = [[subset_name(subset), *(percent(float(correct.mean())) for correct in reversed(gaps[subset])),
           *difference_cells(difference), p_cell(p_value)]
          for subset, difference, p_value in zip(order, differences, adjusted, strict=True)]
  rows.append(['mean', '', '', *difference_cells(mean_gap(gaps)), ''])
  return Table(f'{group.label} against a {other} for each subset, on the same test images, in points; below 0 the '
               f'{other} is better. Single runs: Newcombe\'s interval and the exact McNemar test; means over seeds '
               'or subsets: Bonett and Price\'s interval over test images, the trained networks being fixed.',
               ['channels', other, 'one model', *DIFFERENCE, 'p by Holm'], rows)


def accuracy_by_subset(series: Series, input_channels: Subset, name: str) -> Figure:
  """A figure of the accuracy per subset with intervals; many subsets are drawn by their size."""
  subsets = largest_first((subset for found in series.values() for subset in found), input_channels)
  figure = (_listed if len(subsets) <= LISTED else _by_size)(series, subsets)
  return dataclasses.replace(figure, name=f'subsets-{name}')


def _listed(series: Series, subsets: list[Subset]) -> Figure:
  figure, (axes,) = drawing(1.3 + 0.34 * len(subsets))
  offsets = (np.arange(len(series)) - (len(series) - 1) / 2) * min(0.24, 0.7 / len(series))
  for (name, found), offset, (colour, marker) in zip(series.items(), offsets, looks(len(series)), strict=True):
    places = [index + offset for index, subset in enumerate(subsets) if subset in found]
    accuracies = [found[subset] for subset in subsets if subset in found]
    rates = np.array([100 * accuracy.rate for accuracy in accuracies])
    ends = np.array([[100 * end for end in accuracy.interval()] for accuracy in accuracies])
    axes.errorbar(rates, places, xerr=np.abs(ends.T - rates), color=colour, marker=marker, linestyle='none', capsize=2,
                  label=name)
  axes.set_yticks(range(len(subsets)), [subset_name(subset) for subset in subsets])
  axes.set_ylim(len(subsets) - 0.5, -0.5)
  axes.set_xlabel('test accuracy, %')
  legend_below(figure, axes, columns=1)
  listed = '; '.join(f'{name} on {subset_name(subset)}: {accuracy_text(accuracy)}'
                     for name, found in series.items() for subset, accuracy in found.items())
  return Figure('subsets', to_svg(figure),
                'Test accuracy for each subset of the channels, with 95% intervals for the choice of test images. '
                'Whether intervals overlap is no test: models on the same images are compared in pairs.',
                f'Accuracies by subset of channels. {listed}.')


def _by_size(series: Series, subsets: list[Subset]) -> Figure:
  figure, (axes,) = drawing(3.6 + 0.12 * len(series))
  sizes = sorted({len(subset) for subset in subsets})
  offsets = (np.arange(len(series)) - (len(series) - 1) / 2) * 0.3
  described = []
  for (name, found), offset, (colour, marker) in zip(series.items(), offsets, looks(len(series)), strict=True):
    by_size = {size: np.array([100 * accuracy.rate for subset, accuracy in found.items() if len(subset) == size])
               for size in sizes}
    mean, worst = (np.array([summary(rates) if rates.size else np.nan for rates in by_size.values()])
                   for summary in (np.mean, np.min))  # no line across a gap
    by_size = {size: rates for size, rates in by_size.items() if rates.size}
    for size, rates in by_size.items():
      axes.plot(np.full(len(rates), size + offset), rates, marker=marker, linestyle='none', color=colour, alpha=0.35,
                markersize=3.5)
    places = np.array(sizes) + offset
    axes.plot(places, mean, marker=marker, color=colour, markersize=4.5, label=f'{name}, mean')
    tried = np.isfinite(worst)
    if (tried[1:] & tried[:-1]).any():  # else there is no line to explain in the legend
      axes.plot(places, worst, color=colour, linestyle=(0, (2, 1.5)), label=f'{name}, worst')
    described += [f'{name} with {size}: mean {rates.mean():.1f}%, worst {rates.min():.1f}%'
             for size, rates in by_size.items()]
  axes.set_xticks(sizes)
  axes.set_xlabel('number of channels')
  axes.set_ylabel('test accuracy, %')
  legend_below(figure, axes)
  return Figure('subsets', to_svg(figure),
                f'Test accuracy for each of {len(subsets)} subsets of the channels, by their number: a mark for each '
                'subset, larger ones and a line for the mean, a broken line for the worst.',
                f'Accuracies by number of channels. {"; ".join(described)}.')

"""Table II's form: models, what they cost and how good they are, and which differences are more than chance."""

from mils_jax.metrics import RelativeAccuracy, holm
from mils_jax.metrics.paired import LEVEL
from mils_jax.report.document import Block, Figures, Points, Section, Table, Text
from mils_jax.report.figures.models import accuracy_by_cost
from mils_jax.report.formats import (
  accuracy_text,
  interval_text,
  p_cell,
  p_text,
  percent,
  points_text,
  short,
  spread_text,
)
from mils_jax.report.groups import Group
from mils_jax.report.published import COUNT, EPOCHS, IMAGE_SIZE, MODELS

REFERENCE = 'ResNet34'


def reference_of(groups: list[Group]) -> Group:
  """The baseline where it is there, else the first group."""
  return next((group for group in groups if group.title == REFERENCE), groups[0])


def models_section(groups: list[Group]) -> Section:
  """Models that see all their channels."""
  groups = [group for group in groups if group.sees_all]
  if not groups:
    return Section('Models', [])
  blocks: list[Block] = [_table(groups)]
  if len(groups) > 1:
    blocks.append(Figures([accuracy_by_cost(groups, cost) for cost in ('macs', 'parameters')]))
  blocks.append(_scores(groups))
  if len(groups) > 1:
    blocks += comparisons(groups, reference_of(groups))
  return Section('Models', blocks)


def _table(groups: list[Group]) -> Table:
  baseline = next((group for group in groups if group.title == REFERENCE), None)
  rows = []
  for group in groups:
    share = '' if baseline is None else _share(group.share_of(baseline)) if group is not baseline else percent(1, 0)
    rows.append([group.label, accuracy_text(group.accuracy), spread_text(group.spread), share,
                 *(short(group.size(name)) for name in ('macs', 'flops', 'parameters'))])
  for title in dict.fromkeys(group.title for group in groups):
    if title in MODELS:
      row = MODELS[title]
      share = percent(1, 0) if title == REFERENCE else _share(
          RelativeAccuracy.unpaired(row.accuracy, MODELS[REFERENCE].accuracy))
      rows.append([f'{title}, as published', accuracy_text(row.accuracy), 'one seed', share, short(row.macs),
                   short(2 * row.macs), short(row.parameters)])
  columns = ['model', 'accuracy', 'over seeds', f'share of {REFERENCE}', 'MACs', 'FLOPs (2 x MACs)', 'parameters']
  if not any(row[3] for row in rows):
    columns, rows = [*columns[:3], *columns[4:]], [[*row[:3], *row[4:]] for row in rows]
  published = ('' if len(rows) == len(groups) else ' The published rows are of other images '
               f'({COUNT} to test, {IMAGE_SIZE}x{IMAGE_SIZE}, {EPOCHS} epochs): beside ours for their form, not to be '
               'compared number by number. The published Table II prints MACs as FLOPs.')
  return Table('Table II form: accuracy with its 95% interval for the choice of test images (Wilson), the '
               f'spread over seeds apart from it, and what one image costs.{published}', columns, rows)


def _share(share: RelativeAccuracy) -> str:
  return f'{percent(share.ratio, 1)} {interval_text(share.interval())}'


def _scores(groups: list[Group]) -> Table:
  more = len(groups[0].classes) > 5  # else every label is among the five highest
  rows = [[group.label, percent(group.scores.balanced_accuracy), percent(group.scores.macro_f1),
           *([percent(group.scores.top(5).rate)] if more else []), f'{group.scores.loss:.3f}',
           f'{group.scores.brier:.3f}', f'{100 * group.scores.calibration.error:.1f}'] for group in groups]
  return Table('Other scores of the same predictions, all seeds together. Balanced: the mean over classes of each '
               'one\'s accuracy. The last three judge the probabilities; lower is better.',
               ['model', 'balanced', 'macro F1', *(['top 5'] if more else []), 'log-likelihood, negative, nats',
                'Brier score', 'calibration error, points'], rows)


def comparisons(groups: list[Group], reference: Group) -> list[Block]:
  """Every other group against the reference on the same test images: a table, and each verdict as a sentence."""
  others = [group for group in groups if group is not reference]
  found = [group.against(reference) for group in others]
  adjusted = holm([one.p_value for one in found])
  rows = [[group.label, points_text(one.difference), interval_text(one.interval(), signed=True),
           p_cell(one.p_value), p_cell(p_value), f'{100 * one.smallest_detectable:.1f}']
          for group, one, p_value in zip(others, found, adjusted, strict=True)]
  several = any(len(group.runs) > 1 for group in groups)
  method = 'exact McNemar test and Newcombe\'s score interval (method 10) for single runs'
  if several:
    method += '; for means over seeds Bonett and Price\'s interval over test images, the trained networks as they are'
  return [
      Table(f'Paired differences to {reference.label} on the same {reference.correct.shape[1]} test images, in '
            f'points: {method}. Holm\'s p counts that there {_comparisons(len(others))}. A difference '
            'below the last column could not have been told from chance on this test set.',
            ['model', 'difference', '95% interval', 'p', 'p by Holm', 'smallest that could be shown'], rows),
      Points([f'{one.verdict(group.label, reference.label)}.' + _holm_note(one.distinguishable, p_value)
              for group, one, p_value in zip(others, found, adjusted, strict=True)]),
      *([] if not several else [Text('Intervals over test images say nothing of other seeds: where the spread over '
                                     'seeds is as large as a difference, it may come from the draw of the weights.')]),
  ]


def _comparisons(number: int) -> str:
  return 'is one comparison' if number == 1 else f'are {number} comparisons'


def _holm_note(distinguishable: bool, adjusted: float) -> str:
  if distinguishable and adjusted >= LEVEL:
    return f' With all comparisons of the table counted it is not ({p_text(adjusted)} by Holm).'
  return ''

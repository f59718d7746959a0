"""Where each model is wrong: confusion, the pairs it confuses with pictures of them, its classes, its confidence."""

import numpy as np

from mils_jax.reports.document import Block, Examples, Figures, Heading, Section, Table, Text
from mils_jax.reports.figures.classes import accuracy_by_class, confusion_matrix, most_confused, reliability
from mils_jax.reports.groups import Group, in_figures
from mils_jax.reports.pictures import Pictures
from mils_jax.reports.wording import percent

PAIRS = 5  # most confused ones, of each model
SHOWN = 4  # example pictures of a pair


def mistakes_section(groups: list[Group]) -> Section:
  blocks: list[Block] = []
  for number, group in enumerate(groups, 1):
    figures = [confusion_matrix(group, str(number)), accuracy_by_class(group, str(number))]
    blocks += [Heading(group.label), Figures(figures), *_pairs(group)]
  if not any(isinstance(block, Examples) for block in blocks):
    blocks.append(Text('Examples are not shown: the packed pictures are no longer in the cache.'))
  return Section('Mistakes', blocks)


def confidence_section(groups: list[Group]) -> Section:
  return Section('Confidence', [
      Figures([reliability(part, str(number)) for number, part in enumerate(in_figures(groups))])])


def _pairs(group: Group) -> list[Block]:
  pairs = most_confused(group)[:PAIRS]
  if not pairs:
    return [Text(f'{group.label} took no picture for another class.')]
  rows = [[group.classes[true], group.classes[other], percent(share, 0)] for true, other, share in pairs]
  blocks: list[Block] = [Table(f'{group.label}: the pairs that it confuses most, all seeds together.',
                               ['true class', 'taken for', "share of the true class's pictures"], rows, ('taken for',))]
  run = group.runs[0]
  pictures = Pictures.of(run)
  if pictures is None:
    return blocks
  predicted = run.test.scores.predicted
  for true, other, _ in pairs:
    wrong = np.flatnonzero((run.test.labels == true) & (predicted == other))[:SHOWN]
    shown = [(picture, f'{group.classes[true]}, taken for {group.classes[other]}')
             for picture in map(pictures.png, run.test.identities[wrong]) if picture is not None]
    if shown:
      blocks.append(Examples(f'{group.classes[true]}, taken for {group.classes[other]}', shown))
  return blocks

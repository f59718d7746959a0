"""Where each model is wrong: confusion, the pairs it confuses with images of them, its classes, its confidence."""

import numpy as np

from mils_jax.report.document import Block, Examples, Figures, Heading, Section, Table, Text
from mils_jax.report.figures.classes import accuracy_by_class, confusion_matrix, most_confused, reliability
from mils_jax.report.formats import percent
from mils_jax.report.groups import Group, in_figures
from mils_jax.report.images import Images

PAIRS = 5  # most confused ones, of each model
SHOWN = 4  # example images of a pair


def errors_section(groups: list[Group]) -> Section:
  blocks: list[Block] = []
  for number, group in enumerate(groups, 1):
    figures = [confusion_matrix(group, str(number)), accuracy_by_class(group, str(number))]
    blocks += [Heading(group.label), Figures(figures), *_pairs(group)]
  if not any(isinstance(block, Examples) for block in blocks):
    blocks.append(Text('Examples are not shown: the packed images are no longer in the cache.'))
  return Section('Mistakes', blocks)


def calibration_section(groups: list[Group]) -> Section:
  return Section('Confidence', [
      Figures([reliability(part, str(number)) for number, part in enumerate(in_figures(groups))])])


def _pairs(group: Group) -> list[Block]:
  pairs = most_confused(group)[:PAIRS]
  if not pairs:
    return [Text(f'{group.label} took no image for another class.')]
  rows = [[group.classes[true], group.classes[other], percent(share, 0)] for true, other, share in pairs]
  blocks: list[Block] = [Table(f'{group.label}: the pairs that it confuses most, all seeds together.',
                               ['true class', 'predicted as', "share of the true class's images"], rows, ('predicted as',))]
  run = group.runs[0]
  images = Images.of(run)
  if images is None:
    return blocks
  predicted = run.test.scores.predicted
  for true, other, _ in pairs:
    wrong = np.flatnonzero((run.test.labels == true) & (predicted == other))[:SHOWN]
    shown = [(image, f'{group.classes[true]}, predicted as {group.classes[other]}')
             for image in map(images.png, run.test.example_ids[wrong]) if image is not None]
    if shown:
      blocks.append(Examples(f'{group.classes[true]}, predicted as {group.classes[other]}', shown))
  return blocks

"""The errors of each model: its confusion matrix, the pairs that it confuses with example images, and its classes."""

import numpy as np

from mils_jax.metrics import Accuracy
from mils_jax.report.document import Block, Examples, Figure, Figures, Heading, Section, Table, Text
from mils_jax.report.figure_style import COLOURS, INK, MAP, colour_bar, drawing, to_svg
from mils_jax.report.groups import Group
from mils_jax.report.text import percent
from mils_jax.report.thumbnails import Thumbnails

PAIRS = 5  # number of most confused pairs per model
SHOWN = 4  # example images per pair
NAMED = 25  # largest number of classes whose names fit beside a figure
SHORT = 18  # longest name in a figure, in letters


def errors_section(groups: list[Group]) -> Section:
  """For each model, its confusion matrix, the accuracy of its classes, and the pairs that it confuses most."""
  blocks: list[Block] = []
  for number, group in enumerate(groups, 1):
    figures = [confusion_matrix(group, str(number)), accuracy_by_class(group, str(number))]
    blocks += [Heading(group.label), Figures(figures), *_pairs(group)]
  return Section('Errors', blocks)


def _pairs(group: Group) -> list[Block]:
  pairs = most_confused(group)[:PAIRS]
  if not pairs:
    return [Text(f'{group.label} predicted the right class for every image.')]
  rows = [[group.classes[true], group.classes[other], percent(share, 0)] for true, other, share in pairs]
  columns = ['true class', 'predicted as', "share of the true class's images"]
  blocks: list[Block] = [Table(f'{group.label}: the pairs that it confuses most, all seeds together.', columns, rows,
                               ('predicted as',))]
  run = group.runs[0]
  images = Thumbnails.of(run)
  if images is None:
    return [*blocks, Text('Example images are not shown: the dataset is no longer in the cache.')]
  predicted = run.test.scores.predicted
  for true, other, _ in pairs:
    wrong = np.flatnonzero((run.test.labels == true) & (predicted == other))[:SHOWN]
    shown = [(image, f'{group.classes[true]}, predicted as {group.classes[other]}')
             for image in map(images.png, run.test.example_ids[wrong]) if image is not None]
    if shown:
      blocks.append(Examples(f'{group.classes[true]}, predicted as {group.classes[other]}', shown))
  return blocks


def confusion_matrix(group: Group, name: str) -> Figure:
  """A figure of the share of each class's images by predicted class."""
  count = len(group.classes)
  confusion = group.scores.confusion[:count, :]
  shown = confusion[:, :count]
  shares = shown / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
  named = count <= NAMED
  figure, (axes,) = drawing(4.3 if named else 3.8)
  image = axes.imshow(100 * shares, cmap=MAP, vmin=0, interpolation='nearest')
  axes.grid(False)
  if named:
    names = [class_name[:SHORT] for class_name in group.classes]
    axes.set_xticks(range(count), names, rotation=60, ha='right', rotation_mode='anchor')
    axes.set_yticks(range(count), names)
  axes.set_xlabel('predicted class' if named else 'predicted class, by number')
  axes.set_ylabel('true class' if named else 'true class, by number')
  colour_bar(figure, image, axes, "% of the true class's images")
  diagonal = float(shares.diagonal()[confusion.sum(axis=1) > 0].mean())  # a dataset may lack classes
  pairs = '; '.join(f'{group.classes[true]} predicted as {group.classes[wrong]} in {share:.0%}'
                    for true, wrong, share in most_confused(group)[:3])
  return Figure(f'confusion-{name}', to_svg(figure),
                f'{group.label}: each row is a true class, each column what it was predicted as. A bright diagonal is '
                'good; a bright spot beside it is a pair that the model confuses.',
                f'Confusion matrix of {count} classes; the diagonal is {diagonal:.0%} on average. '
                + (f'Most confused: {pairs}.' if pairs else 'No image was predicted as another class.'))


def most_confused(group: Group) -> list[tuple[int, int, float]]:
  """(true class, predicted class, share of the true class's images), the most frequent first."""
  count = len(group.classes)
  confusion = group.scores.confusion[:count, :]
  shares = confusion[:, :count] * (1 - np.eye(count)) / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
  order = np.argsort(-shares, axis=None, kind='stable')[:10]
  pairs = zip(*np.unravel_index(order, shares.shape), strict=True)
  return [(int(true), int(other), float(shares[true, other])) for true, other in pairs if shares[true, other] > 0]


def accuracy_by_class(group: Group, name: str) -> Figure:
  """A figure of each class's accuracy with its interval, the best first; all seeds are pooled."""
  by_class = sorted(_by_class(group).items(), key=lambda item: -item[1].rate)
  named = len(by_class) <= NAMED
  rates = np.array([100 * accuracy.rate for _, accuracy in by_class])
  ends = np.array([[100 * end for end in accuracy.interval()] for _, accuracy in by_class])
  margins = np.abs(ends.T - rates)
  places = np.arange(len(by_class))
  figure, (axes,) = drawing(1.1 + 0.22 * len(by_class) if named else 3.3)
  style = {'linestyle': 'none', 'marker': 'o', 'markersize': 4 if named else 3, 'color': COLOURS[0], 'linewidth': 1}
  if named:
    axes.errorbar(rates, places, xerr=margins, **style)
    axes.set_yticks(places, [group.classes[label][:SHORT] for label, _ in by_class])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel('accuracy, %')
    axes.axvline(100 * group.accuracy.rate, color=INK, linewidth=1, linestyle=(0, (4, 3)))
  else:
    axes.errorbar(places + 1, rates, yerr=margins, **style)
    axes.set_ylim(0, 100)
    axes.set_xlabel('classes, from the best to the worst')
    axes.set_ylabel('accuracy, %')
    axes.axhline(100 * group.accuracy.rate, color=INK, linewidth=1, linestyle=(0, (4, 3)))
  best = ', '.join(f'{group.classes[label]} {accuracy.rate:.0%}' for label, accuracy in by_class[:3])
  worst = ', '.join(f'{group.classes[label]} {accuracy.rate:.0%}' for label, accuracy in by_class[:-4:-1])
  count = min(accuracy.count for _, accuracy in by_class)
  return Figure(f'classes-{name}', to_svg(figure),
                f'{group.label}: accuracy of each class with its 95% interval; the dashed line is that of '
                f'all images. Best: {best}. Worst: {worst}. With {count:g} or more images a class, '
                'an interval is wide: much of the order is chance.',
                f'Dots of the accuracy of {len(by_class)} classes, from {rates.max():.0f}% to {rates.min():.0f}%. '
                f'Best: {best}. Worst: {worst}.')


def _by_class(group: Group) -> dict[int, Accuracy]:
  """Each class's mean accuracy over seeds, with the count of a single run, as all runs test the same images."""
  seeds = len(group.runs)
  return {label: Accuracy(accuracy.correct / seeds, accuracy.count // seeds)
          for label, accuracy in group.scores.by_class.items()}

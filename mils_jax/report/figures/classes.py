"""Where a model is right and wrong: confusion, classes, confidence."""

import numpy as np

from mils_jax.metrics import Accuracy
from mils_jax.report.document import Figure
from mils_jax.report.figure_style import COLOURS, MAP, colour_bar, drawing, ink, legend_below, line, looks, to_svg
from mils_jax.report.groups import Group

NAMED = 25  # classes at most whose names fit beside a figure
SHORT = 18  # letters of a name
FEW = 10  # images of a bin, below which its accuracy says little


def confusion_matrix(group: Group, name: str) -> Figure:
  """Share of each class's images by predicted class."""
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
  diagonal = float(shares.diagonal().mean())
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
  """Each class's accuracy with its interval, the best first; all seeds together."""
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
    axes.axvline(100 * group.accuracy.rate, color=ink(), linewidth=1, linestyle=(0, (4, 3)))
  else:
    axes.errorbar(places + 1, rates, yerr=margins, **style)
    axes.set_ylim(0, 100)
    axes.set_xlabel('classes, from the best to the worst')
    axes.set_ylabel('accuracy, %')
    axes.axhline(100 * group.accuracy.rate, color=ink(), linewidth=1, linestyle=(0, (4, 3)))
  best = ', '.join(f'{group.classes[label]} {accuracy.rate:.0%}' for label, accuracy in by_class[:3])
  worst = ', '.join(f'{group.classes[label]} {accuracy.rate:.0%}' for label, accuracy in by_class[:-4:-1])
  count = min(accuracy.count for _, accuracy in by_class)
  return Figure(f'classes-{name}', to_svg(figure),
                f'{group.label}: accuracy of each class with its 95% interval; the dashed line is that of '
                f'all images. Best: {best}. Worst: {worst}. With {count:g} or more images a class, '
                'an interval is wide: much of the order is chance.',
                f'Dots of the accuracy of {len(by_class)} classes, from {rates.max():.0f} % to {rates.min():.0f} %. '
                f'Best: {best}. Worst: {worst}.')


def _by_class(group: Group) -> dict[int, Accuracy]:
  """Each class's mean over the seeds, with the count of one of them: the same image is no new one in another run."""
  seeds = len(group.runs)
  return {label: Accuracy(accuracy.correct / seeds, accuracy.count / seeds)
          for label, accuracy in group.scores.by_class.items()}


def reliability(groups: list[Group], name: str) -> Figure:
  """How often each model is right by how sure it says to be."""
  figure, (axes,) = drawing(4.2 + 0.12 * len(groups))
  axes.plot([0, 100], [0, 100], color=line(), linewidth=2.5, zorder=1)
  errors = []
  for group, (colour, marker) in zip(groups, looks(len(groups)), strict=True):
    found = group.scores.calibration
    filled, many = found.weight > 0, found.weight >= FEW
    label = f'{group.label}, error {100 * found.error:.1f} points'
    errors.append(label)
    axes.plot(100 * found.confidence[many], 100 * found.accuracy[many], color=colour, label=label, marker=marker,
              markersize=4)
    axes.scatter(100 * found.confidence[filled], 100 * found.accuracy[filled], color=colour, marker=marker, zorder=3,
                 s=8 + 90 * np.sqrt(found.weight[filled] / found.weight.sum()), alpha=np.where(many[filled], 1, 0.35))
  axes.set(xlim=(0, 100), ylim=(0, 100), aspect='equal', xlabel="probability of the predicted class, %",
           ylabel='images that were right, %')
  legend_below(figure, axes, columns=1)
  return Figure(f'reliability-{name}', to_svg(figure),
                'Reliability: images in 15 bins by the probability that the model gives its answer. On the grey line '
                'it is right as often as it says; below, it is too sure. Larger marks hold more images; faint ones '
                f'hold fewer than {FEW}, and no line joins them. The error is the expected calibration error.',
                f'Lines of accuracy against confidence. {"; ".join(errors)}.')

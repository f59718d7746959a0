"""Calibration: whether each model is correct as often as its probabilities promise."""

import numpy as np

from mils_jax.report.document import Figure, Figures, Section
from mils_jax.report.figure_style import LINE, drawing, legend_below, looks, to_svg
from mils_jax.report.groups import Group, in_figures

FEW = 10  # images in a bin, below which its accuracy means little


def calibration_section(groups: list[Group]) -> Section:
  """The reliability diagrams."""
  return Section('Calibration', [
      Figures([reliability(part, str(number)) for number, part in enumerate(in_figures(groups))])])


def reliability(groups: list[Group], name: str) -> Figure:
  """A figure of the accuracy by predicted probability."""
  figure, (axes,) = drawing(4.2 + 0.12 * len(groups))
  axes.plot([0, 100], [0, 100], color=LINE, linewidth=2.5, zorder=1)
  errors = []
  for group, (colour, marker) in zip(groups, looks(len(groups)), strict=True):
    found = group.scores.calibration
    filled, many = found.count > 0, found.count >= FEW
    label = f'{group.label}, ECE {100 * found.error:.1f} points'
    errors.append(label)
    axes.plot(100 * found.confidence[many], 100 * found.accuracy[many], color=colour, label=label, marker=marker,
              markersize=4)
    axes.scatter(100 * found.confidence[filled], 100 * found.accuracy[filled], color=colour, marker=marker, zorder=3,
                 s=8 + 90 * np.sqrt(found.count[filled] / found.count.sum()),
                 alpha=np.where(many[filled], 1, 0.35))  # pyright: ignore[reportArgumentType]  scatter takes one a point
  axes.set(xlim=(0, 100), ylim=(0, 100), aspect='equal', xlabel="probability of the predicted class, %",
           ylabel='images that were right, %')
  legend_below(figure, axes, columns=1)
  return Figure(f'reliability-{name}', to_svg(figure),
                'Reliability: images in 15 bins by the probability of the predicted class. On the grey line accuracy '
                'equals confidence; below it, the model is overconfident. Larger marks hold more images; faint ones '
                f'hold fewer than {FEW}, and no line joins them. ECE is the expected calibration error.',
                f'Lines of accuracy against confidence. {"; ".join(errors)}.')

"""Training curves."""

import dataclasses

from mils_jax.report.document import Figure, Figures, Section
from mils_jax.report.figure_style import drawing, legend_below, looks, to_svg
from mils_jax.report.groups import Group, in_figures

CURVES = {'accuracy': ('accuracy, %', 100), 'loss': ('loss, nats', 1)}


def training_section(groups: list[Group]) -> Section:
  """Curves of accuracy and loss; a compressed run, which was not trained, has none."""
  trained = [dataclasses.replace(group, runs=runs) for group in groups
             if (runs := tuple(run for run in group.runs if run.metrics))]
  if not trained:
    return Section('Training', [])
  return Section('Training', [Figures([training_curves(part, kind, str(number))
                                       for number, part in enumerate(in_figures(trained)) for kind in CURVES])])


def training_curves(groups: list[Group], kind: str, name: str) -> Figure:
  """A figure of 'accuracy' or 'loss' by epoch, in training and validation, for every run; its name ends with `name`."""
  unit, scale = CURVES[kind]
  figure, (axes,) = drawing(3.3 + 0.12 * len(groups))
  for group, (colour, marker) in zip(groups, looks(len(groups)), strict=True):
    for number, run in enumerate(group.runs):
      epochs = [line['epoch'] for line in run.metrics]
      several = {'markevery': max(1, len(epochs) // 10), 'markersize': 4, 'color': colour}
      axes.plot(epochs, [scale * line[f'val_{kind}'] for line in run.metrics], marker=marker, **several,
                label=None if number else group.label)
      axes.plot(epochs, [scale * line[f'train_{kind}'] for line in run.metrics], linestyle=(0, (2, 1.5)), alpha=0.75,
                linewidth=1.2, color=colour)
  axes.set_xlabel('epoch')
  axes.set_ylabel(unit)
  axes.xaxis.get_major_locator().set_params(integer=True)  # pyright: ignore[reportCallIssue]  an AutoLocator takes it
  legend_below(figure, axes)
  last = '; '.join(f'{group.label}: {scale * run.metrics[-1][f"train_{kind}"]:.3g} in training and '
                   f'{scale * run.metrics[-1][f"val_{kind}"]:.3g} in validation'
                   for group in groups for run in group.runs[:1] if run.metrics)
  note = ' Label smoothing and augmentation are part of the training loss only.' if kind == 'loss' else ''
  return Figure(f'curves-{kind}-{name}', to_svg(figure),
                f'{kind.capitalize()} by epoch: solid with marks in validation, dotted in training (on augmented '
                f'images, while the network changes). A gap that widens is overfitting.{note}',
                f'Lines of {kind} by epoch. After the last epoch, {last}.')

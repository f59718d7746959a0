"""What each subset of channels gives: accuracy, the worth of a channel, the attention over kernels."""

import numpy as np

from mils_jax.metrics import PairedDifference, holm
from mils_jax.metrics.paired import LEVEL
from mils_jax.report.document import Figure
from mils_jax.report.figure_style import COLOURS, MAP, colour_bar, drawing, legend_below, line, looks, to_svg
from mils_jax.report.formats import accuracy_text, subset_name, subsets_in_order
from mils_jax.report.specialists import Series

LISTED = 32  # subsets at most that are drawn one by one
DRAWN = 8  # subsets at most whose attention is drawn, always with the full set


def accuracy_by_subset(series: Series, input_channels: tuple[str, ...]) -> Figure:
  """Accuracy per subset with intervals; where there are many, by their size."""
  subsets = subsets_in_order((subset for found in series.values() for subset in found), input_channels)
  return (_listed if len(subsets) <= LISTED else _by_size)(series, subsets)


def _listed(series: Series, subsets: list[tuple[str, ...]]) -> Figure:
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
                'Test accuracy for each subset of the channels, with 95% intervals of the choice of test images. '
                'Intervals that overlap are no test: what two models say of the same images is compared in pairs.',
                f'Accuracies by subset of channels. {listed}.')


def _by_size(series: Series, subsets: list[tuple[str, ...]]) -> Figure:
  figure, (axes,) = drawing(3.6 + 0.12 * len(series))
  sizes = sorted({len(subset) for subset in subsets})
  offsets = (np.arange(len(series)) - (len(series) - 1) / 2) * 0.3
  said = []
  for (name, found), offset, (colour, marker) in zip(series.items(), offsets, looks(len(series)), strict=True):
    by_size = {size: np.array([100 * accuracy.rate for subset, accuracy in found.items() if len(subset) == size])
               for size in sizes}
    by_size = {size: rates for size, rates in by_size.items() if rates.size}
    for size, rates in by_size.items():
      axes.plot(np.full(len(rates), size + offset), rates, marker=marker, linestyle='none', color=colour, alpha=0.35,
                markersize=3.5)
    places = [size + offset for size in by_size]
    axes.plot(places, [rates.mean() for rates in by_size.values()], color=colour, label=f'{name}, mean')
    axes.plot(places, [rates.min() for rates in by_size.values()], color=colour, linestyle=(0, (2, 1.5)),
              label=f'{name}, worst')
    said += [f'{name} with {size}: mean {rates.mean():.1f} %, worst {rates.min():.1f} %'
             for size, rates in by_size.items()]
  axes.set_xticks(sizes)
  axes.set_xlabel('number of channels')
  axes.set_ylabel('test accuracy, %')
  legend_below(figure, axes)
  return Figure('subsets', to_svg(figure),
                f'Test accuracy for each of {len(subsets)} subsets of the channels, by their number: a mark for each '
                'subset, lines through the mean and the worst.',
                f'Accuracies by number of channels. {"; ".join(said)}.')


def worth_of_channels(name: str, worth: dict[str, PairedDifference]) -> Figure:
  """How much accuracy is lost when one channel alone is taken away."""
  ordered = sorted(worth.items(), key=lambda item: -item[1].difference)
  points = np.array([100 * found.difference for _, found in ordered])
  ends = np.array([[100 * end for end in found.interval()] for _, found in ordered])
  figure, (axes,) = drawing(1.2 + 0.3 * len(ordered))
  axes.axvline(0, color=line(), linewidth=2.5, zorder=1)
  axes.errorbar(points, range(len(ordered)), xerr=np.abs(ends.T - points), color=COLOURS[0], marker='o',
                linestyle='none', capsize=3)
  axes.set_yticks(range(len(ordered)), [channel for channel, _ in ordered])
  axes.set_ylim(len(ordered) - 0.5, -0.5)
  axes.set_xlabel('points of accuracy that it adds to all the others')
  adjusted = holm([found.p_value for _, found in ordered])
  sure = [channel for (channel, _), p_value in zip(ordered, adjusted, strict=True) if p_value < LEVEL]
  listed = '; '.join(f'{channel} {value:+.1f} points' for (channel, _), value in zip(ordered, points, strict=True))
  return Figure('worth', to_svg(figure),
                f'{name}: what each channel is worth, as the paired difference between all channels and all but this '
                f'one, with Newcombe\'s 95% interval. Distinguishable from nothing, all of them counted (exact '
                f'McNemar test, Holm): {", ".join(sure) or "none"}.',
                f'Dots with intervals by channel. {listed}.')


def attention(name: str, subsets: list[dict]) -> Figure:
  """Mean attention over the kernels, by layer, for each subset that was measured: eight at most, the full set last."""
  shown = subsets if len(subsets) <= DRAWN else [*subsets[:DRAWN - 1], subsets[-1]]
  columns = min(4, len(shown))
  rows = -(-len(shown) // columns)
  layers = [layer['layer'] for layer in shown[0]['layers']]
  kernels = len(shown[0]['layers'][0]['mean_attention'])
  figure, panels = drawing(rows * (0.9 + 0.17 * len(layers)), columns, rows, sharey=True)
  for axes in panels[len(shown):]:
    axes.set_visible(False)
  for axes, subset in zip(panels, shown, strict=False):
    values = np.array([layer['mean_attention'] for layer in subset['layers']])
    image = axes.imshow(values, cmap=MAP, vmin=0, vmax=1, aspect='auto', interpolation='nearest')
    axes.set_title(subset_name(tuple(subset['channels'])), fontsize=9)
    axes.set_xticks(range(kernels), [str(number + 1) for number in range(kernels)])
    axes.set_yticks(range(len(layers)), layers, fontsize=8)
    axes.set_xlabel('kernel')
    axes.grid(False)
  colour_bar(figure, image, panels, 'mean attention')
  spread = max(float(np.ptp(layer['mean_attention'])) for subset in shown for layer in subset['layers'])
  return Figure('attention', to_svg(figure),
                f'{name}: mean attention over the {kernels} kernels, by layer and by subset of the channels. All '
                f'{1 / kernels:.2f} means that the kernels are used as one; a 1 means that only one is used. The '
                f'largest spread within a layer is {spread:.2f}.',
                f'Heat maps of {len(layers)} layers by {kernels} kernels for {len(shown)} subsets of channels; the '
                f'largest spread of the mean attention within a layer is {spread:.2f}.')

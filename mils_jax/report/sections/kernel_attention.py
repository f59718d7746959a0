"""How networks with dynamic convolutions use their kernels, measured by --mode diagnose."""

import numpy as np

from mils_jax.channel_subsets import subset_name
from mils_jax.progress import counted
from mils_jax.report.document import Block, Figure, Figures, Section, Table
from mils_jax.report.figure_style import MAP, colour_bar, drawing, to_svg
from mils_jax.report.groups import Group

DRAWN = 8  # most subsets whose attention is drawn, always with the full set


def attention_section(groups: list[Group]) -> Section:
  """The attention over kernels of every model that was diagnosed."""
  blocks: list[Block] = []
  for number, group in enumerate(groups):
    diagnostics = group.runs[0].diagnostics
    if diagnostics and diagnostics['subsets']:
      blocks += [Figures([attention(group.label, diagnostics['subsets'], str(number))]),
                 _attention_table(group, diagnostics['subsets'])]
  return Section('Kernel attention', blocks)


def _attention_table(group: Group, subsets: list[dict]) -> Table:
  whole = subsets[-1]
  rows = [[layer['layer'], *(f'{layer[name]:.3f}' if layer.get(name) is not None else ''
                             for name in ('entropy_of_mean', 'mean_entropy', 'logit_change_if_frozen'))]
          for layer in whole['layers']]
  return Table(f'{group.label}: attention over kernels with {subset_name(tuple(whole["channels"]))}, by layer. Equal '
               'entropies mean that the attention hardly depends on the image; ln K means that it is even.',
               ['layer', 'entropy of the mean, nats', 'mean entropy, nats', 'change of logits if frozen'], rows)


def attention(label: str, subsets: list[dict], name: str) -> Figure:
  """A figure of the mean attention over kernels, by layer, for up to eight measured subsets, the full set last."""
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
    axes.imshow(values, cmap=MAP, vmin=0, vmax=1, aspect='auto', interpolation='nearest')
    axes.set_title(subset_name(tuple(subset['channels'])), fontsize=9)
    axes.set_xticks(range(kernels), [str(number + 1) for number in range(kernels)])
    axes.set_yticks(range(len(layers)), layers, fontsize=8)
    axes.set_xlabel('kernel')
    axes.grid(False)
  colour_bar(figure, panels[len(shown) - 1].images[-1], panels, 'mean attention')
  spread = max(float(np.ptp(layer['mean_attention'])) for subset in shown for layer in subset['layers'])
  return Figure(f'attention-{name}', to_svg(figure),
                f'{label}: mean attention over the {kernels} kernels, by layer and by subset of the channels. All '
                f'{1 / kernels:.2f} means that the kernels are used as one; a 1 means that only one is used. The '
                f'largest spread within a layer is {spread:.2f}.',
                f'Heat maps of {len(layers)} layers by {kernels} kernels for {counted(len(shown), "subset")} of '
                f'channels; the largest spread of the mean attention within a layer is {spread:.2f}.')

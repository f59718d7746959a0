"""What a network does with its kernels, as lines that a person reads."""

import math
from collections import Counter
from pathlib import Path

from mils_jax.commands.diagnose import (
  COLLAPSED_BELOW,
  SAME_BELOW,
  UNIFORM_ABOVE,
  DiagnosticReport,
  LayerDiagnosis,
  SubsetDiagnosis,
)
from mils_jax.report.text import aligned

LISTED = 16  # subsets that are all printed; of more, the full set and those with the smallest and largest change


def diagnostic_lines(report: DiagnosticReport, folder: Path) -> list[str]:
  """Every layer with all channels, each subset in a row, and whether the kernels are used as one."""
  highest = math.log(report.kernels)
  rows = [_layer_row(layer, highest) for layer in report.full.layers]
  lines = ['', f'attention over {report.kernels} kernels on {report.count} test images, all channels there; frozen '
           f'at its mean on {report.full.all_frozen.count} of them:', '',
           *aligned([['layer', 'mean attention', 'entropy of mean', 'mean entropy', 'spread', 'logits change',
                      'classes change', 'used as one'], *rows]),
           '', f'entropies: shares of log {report.kernels}; spread: standard deviation over images of the kernel '
           'that varies most;', 'change of the logits: root mean square, as a share of their standard deviation']
  rows = [_subset_row(subset, highest) for subset in _listed(report)]
  lines += ['', 'by the channels that are there, with every layer frozen at its mean:', '',
            *aligned([['channels', 'entropy of mean', 'mean entropy', 'logits change', 'classes change',
                       'layers used as one'], *rows])]
  return [*lines, '', *verdict(report.full), '', f'everything in {folder / "diagnostics.json"}']


def verdict(subset: SubsetDiagnosis) -> list[str]:
  """How many layers use their kernels as one and what that advises; then how it is judged."""
  ways = Counter(layer.used_as_one for layer in subset.layers if layer.used_as_one)
  used = ', '.join(f'{number} {way}' for way, number in ways.items()) or 'none'
  advice = ''
  if ways.total() == len(subset.layers):
    advice = ': --mode compress makes them one, for a fraction of the cost'
  return [f'{ways.total()} of {len(subset.layers)} layers use their kernels as one ({used}){advice}.',
          f'Near-uniform: entropy of the mean above {UNIFORM_ABOVE:.0%} of log K, spread below {SAME_BELOW:g}; fixed '
          f'mixture: such a spread,',
          f'another mean; collapsed: entropy of the mean below {COLLAPSED_BELOW:.0%} of log K.']


def _listed(report: DiagnosticReport) -> list[SubsetDiagnosis]:
  if len(report.subsets) <= LISTED:
    return list(report.subsets)
  *others, full = report.subsets
  others.sort(key=lambda subset: subset.all_frozen.logits)
  return [*others[:LISTED // 2], *others[-LISTED // 2 + 1:], full]


def _layer_row(layer: LayerDiagnosis, highest: float) -> list[str]:
  return [layer.layer, ' '.join(f'{weight:.3f}' for weight in layer.mean), f'{layer.entropy_of_mean / highest:.1%}',
          f'{layer.mean_entropy / highest:.1%}', f'{layer.spread:.4f}', f'{layer.frozen.logits:.2%}',
          f'{layer.frozen.classes} of {layer.frozen.count}', layer.used_as_one or 'no']


def _subset_row(subset: SubsetDiagnosis, highest: float) -> list[str]:
  number = len(subset.layers)
  mean, own = (sum(values) / number / highest for values in zip(
      *((layer.entropy_of_mean, layer.mean_entropy) for layer in subset.layers), strict=True))
  names = subset.channels if len(subset.channels) <= 8 else (*subset.channels[:7], f'... {len(subset.channels)} in all')
  return [', '.join(names), f'{mean:.1%}', f'{own:.1%}', f'{subset.all_frozen.logits:.2%}',
          f'{subset.all_frozen.classes} of {subset.all_frozen.count}',
          f'{sum(bool(layer.used_as_one) for layer in subset.layers)} of {number}']

"""What compressing a run cost and saved, as lines that a person reads."""

import shlex
from pathlib import Path

from mils_jax.metrics import Accuracy, PairedDifference
from mils_jax.report.text import aligned, grouped


def compression_lines(values: dict, output: Path) -> list[str]:
  """The original and the smaller run side by side, whether they can be told apart, and what to try next.

  Args:
    values: of compression.json.
    output: folder of the smaller run.
  """
  origin = values['made_from']
  name = origin['method']
  how = 'merged into one' if name == 'merged' else f'pruned to {origin["kernels"]}'
  rows = [[title, _rate(figures), *(grouped(figures[field]) for field in ('parameters', 'macs', 'flops'))]
          for title, figures in (('original', values['original']), (name, values['compressed']))]
  saved = values['original']['macs'] / values['compressed']['macs']
  folder = shlex.quote(str(output))
  return [
      '', f'{origin["run"]}, step {origin["step"]}, its {origin["of"]} kernels in each layer {how}:', '',
      *aligned([['', 'test accuracy (95% interval)', 'parameters', 'MACs', 'FLOPs'], *rows]), '',
      PairedDifference.from_json(values['difference']).verdict(f'the {name} network', 'the original'),
      f'{saved:.2f} times fewer MACs, with all kernels in parallel, per image',
      '', f'everything in {output}; it evaluates and predicts like any other run',
      '', 'next: what missing channels cost it now, or some more training, in a folder of its own:',
      f'  python main.py --mode subsets --workdir {folder}',
      f'  python main.py --config ... --config.model.num_kernels={origin["kernels"]} --config.train.init_from={folder} '
      '--workdir ...',
  ]


def _rate(figures: dict) -> str:
  low, high = Accuracy(figures['correct'], figures['count']).interval()
  return f'{figures["rate"]:.2%} ({low:.1%} to {high:.1%})'

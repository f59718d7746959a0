"""Results and costs as lines that a person reads."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from mils_jax.commands.cost import Cost
from mils_jax.commands.predict import Summary
from mils_jax.metrics import Accuracy
from mils_jax.models.flops import CONVENTIONS

CLASSES_SHOWN = 5
ERRORS_SHOWN = 10


def grouped(number: float) -> str:
  """1234567 -> '1 234 567'."""
  return f'{number:,.0f}'.replace(',', ' ')


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
  """Rows of cells as lines: the first column to the left, numbers to the right."""
  widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
  return ['  '.join(text.ljust(width) if column == 0 else text.rjust(width)
                    for column, (text, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]


def channels_text(results: dict) -> str:
  """'R, B (missing: G)'."""
  missing = [channel for channel in results['input_channels'] if channel not in results['channels']]
  return ', '.join(results['channels']) + (f' (missing: {", ".join(missing)})' if missing else '')


def result_lines(results: dict, folder: Path) -> list[str]:
  """A run's result, where everything lies and what to try next."""
  test = Accuracy(results['test']['correct'], results['test']['count'])
  validation = Accuracy(results['validation']['correct'], results['validation']['count'])
  parallel = ' with all kernels in parallel' if results['model'].startswith('dynamic') else ''
  size = 'x'.join(map(str, results['image_shape'][:2]))
  return [
      '',
      f'{results["name"]}: {results["model"]}, {size} images, channels {channels_text(results)}',
      f'  test accuracy   {test}',
      f'  balanced        {results["test"]["balanced_accuracy"]:.2%} (mean over the classes of each one\'s accuracy)',
      f'  validation      {validation}, epoch {results["best_epoch"]} of {results["epochs"]} was the best',
      f'  parameters      {grouped(results["parameters"])}',
      f'  MACs            {grouped(results["macs"])} per image{parallel}',
      f'  FLOPs           {grouped(results["flops"])} per image (2 x MACs)',
      f'  everything in   {folder}',
      '',
      'next: count what it costs, block by block, with XLA\'s own figures:',
      f'  python main.py --mode cost --workdir {shlex.quote(str(folder))}',
  ]


def cost_lines(cost: Cost) -> list[str]:
  """A table by block, then the totals of each mix."""
  header = ['block', 'parameters', *(f'MACs {part.mix}'.strip() for part in cost.mixes)]
  macs = cost.mixes[0].macs  # in the order of the computation; blocks without any come last
  rows = [[block, grouped(cost.parameters[block]), *(grouped(part.macs.get(block, 0)) for part in cost.mixes)]
          for block in sorted(cost.parameters, key=lambda block: [*macs, block].index(block))]
  rows.append(['total', grouped(sum(cost.parameters.values())),
               *(grouped(sum(part.macs.values())) for part in cost.mixes)])
  lines = [f'{cost.model} at {"x".join(map(str, cost.image_shape))}, one image', '', *aligned((header, *rows))]
  for part in cost.mixes:
    total = sum(part.macs.values())
    lines += ['', f'{part.mix or cost.model}:',
              f'  MACs {grouped(total)}, FLOPs (2 x MACs) {grouped(2 * total)}']
    lines += [f'  XLA, {name}: {grouped(count.flops)} FLOPs, {grouped(count.bytes_accessed)} bytes'
              for name, count in (('inference', part.inference), ('training step', part.training))]
  return [*lines, '', CONVENTIONS]


def markdown_table(titles: list[str], rows: list[list[str]]) -> list[str]:
  """A table that reads well as plain text too: the first column to the left, the others to the right."""
  widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(len(titles))]
  lines = ['| ' + ' | '.join(text.ljust(width) if column == 0 else text.rjust(width)
                             for column, (text, width) in enumerate(zip(row, widths, strict=True))) + ' |'
           for row in (titles, *rows)]
  rule = ['-' * (widths[0] + 2), *('-' * (width + 1) + ':' for width in widths[1:])]
  return [lines[0], f'|{"|".join(rule)}|', *lines[1:]]


def prediction_lines(summary: Summary) -> list[str]:
  """How many images, which classes were seen most, which channels were missing, and where the CSV lies."""
  count = summary.count
  most = ', '.join(f'{name} {number} ({number / count:.1%})'
                   for name, number in summary.classes.most_common(CLASSES_SHOWN))
  missing = ', '.join(f'{channel} ({number} of {count} images)' for channel, number in summary.missing.items())
  errors = [f'not classified: {example_id}: {reason}' for example_id, reason in summary.errors.items()]
  more = len(errors) - ERRORS_SHOWN
  return [
      *errors[:ERRORS_SHOWN],
      *([f'and {more} more'] if more > 0 else []),
      *(f'{note} ({number} of {count} images)' for note, number in summary.notes.items()),
      f'{grouped(count)} images classified; of {len(summary.classes)} classes, most often {most}',
      f'channels missing: {missing or "none"}',
      f'saved as {summary.output}',
  ]

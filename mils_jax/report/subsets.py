"""What channel subsets cost, as lines that a person reads."""

from pathlib import Path

from mils_jax.metrics import Accuracy, holm
from mils_jax.metrics.paired import LEVEL
from mils_jax.report.text import aligned
from mils_jax.subsets import SubsetReport
from mils_jax.training.run_folder import RunFolder

LISTED = 16  # subsets that are all printed; of more, sizes are


def subset_lines(report: SubsetReport, folder: Path) -> list[str]:
  """Every subset, or each size's mean and worst, then what each channel is worth and where everything lies."""
  lines = ['', f'accuracy on {report.full.accuracy.count} test images, by the channels that are there:', '']
  if len(report.results) <= LISTED:
    rows = [[', '.join(result.channels), _rate(result.accuracy), f'{result.predictions.balanced_accuracy:.1%}']
            for result in report.results]
    lines += aligned([['channels', 'accuracy (95% interval)', 'balanced'], *rows])
  else:
    rows = [[f'{row.size} of {len(report.channels)}', str(row.number), f'{row.mean:.1%}', _rate(row.worst.accuracy),
             _shortened(row.worst.channels)] for row in report.sizes()]
    lines += aligned([['channels', 'subsets', 'mean', 'worst (95% interval)', 'which'], *rows])
  lines += ['', f'all: {report.full.accuracy}',
            f'mean over the {len(report.results)} subsets {report.mean:.2%}; worst {_shortened(report.worst.channels)} '
            f'with {_rate(report.worst.accuracy)}']
  if worth := report.worth():
    rows = []
    adjusted = dict(zip(worth, holm([difference.p_value for difference in worth.values()]), strict=True))
    for channel, difference in sorted(worth.items(), key=lambda item: -item[1].difference):
      low, high = difference.interval()
      rows.append([channel, f'{100 * difference.difference:+.1f}', f'{100 * low:+.1f} to {100 * high:+.1f}',
                   'yes' if adjusted[channel] < LEVEL else 'no'])
    lines += ['', 'what each channel is worth: points of accuracy that go when it alone is taken away',
              '(Newcombe\'s paired interval; exact McNemar test, p by Holm for all of them):', '',
              *aligned([['channel', 'points', '95% interval', 'p < 0.05'], *rows])]
  files = RunFolder(folder)
  return [*lines, '', f'every subset in {files.subsets_table} and {files.subsets.name}, every prediction in '
          f'{files.subset_answers.name}']


def _rate(accuracy: Accuracy) -> str:
  low, high = accuracy.interval()
  return f'{accuracy.rate:.1%} ({low:.1%} to {high:.1%})'


def _shortened(channels: tuple[str, ...]) -> str:
  return ', '.join(channels if len(channels) <= 8 else (*channels[:7], f'... {len(channels)} in all'))

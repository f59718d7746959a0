"""Tests a trained model on channel subsets."""

from mils_jax import invocation
from mils_jax.channel_subsets import Subset
from mils_jax.commands import Request
from mils_jax.metrics import holm
from mils_jax.metrics.paired import LEVEL
from mils_jax.progress import counted, log_lines
from mils_jax.report.text import (
  accuracy_text,
  interval_text,
  listed_channels,
  percent,
  points_text,
  table_lines,
)
from mils_jax.subsets import SubsetReport, evaluate_subsets
from mils_jax.training.run_folder import RunFolder

LISTED = 16  # most subsets that are all printed; with more, only sizes are


def run(request: Request) -> None:
  """Evaluates the subsets that the configuration selects."""
  log_lines([*subset_lines(evaluate_subsets(request.folder, config=request.config), request.folder),
             *invocation.next_lines('a page with its figures', 'report', runs=request.folder.path)])


def subset_lines(report: SubsetReport, folder: RunFolder) -> list[str]:
  """Lines with every subset, or mean and worst of each size, the importance of each channel, and the files."""
  def rate(subset: Subset) -> str:
    return accuracy_text(report.accuracy(subset))

  full = report.channels
  lines = ['', f'accuracy on {report.accuracy(report.worst).count} test images, by the channels that are given:', '']
  counts = {subset: report.accuracy(subset).count for subset in report.predictions}
  if report.given is not None:
    lines[1] = (f'accuracy by the channels that are given, each on the test images that have any of them '
                f'({min(counts.values())} to {max(counts.values())} of {len(report.given)}):')
  if len(report.predictions) <= LISTED:
    rows = [[', '.join(subset), rate(subset), percent(report.seen(subset).balanced_accuracy), str(counts[subset])]
            for subset in report.predictions]
    lines += table_lines(['channels', 'accuracy [95% interval]', 'balanced', 'images'], rows)
  else:
    lines += table_lines(['channels', 'subsets', 'mean', 'worst [95% interval]', 'which'],
                         [[f'{size} of {len(full)}', str(len(one.predictions)), percent(one.mean), rate(one.worst),
                           listed_channels(one.worst)] for size, one in report.sizes().items()], words=['which'])
  lines += ['', *([f'all channels: {report.accuracy(full)}'] if full in report.predictions else []),
            f'mean over the {counted(len(report.predictions), "subset")}: {percent(report.mean)}; worst: '
            f'{report.accuracy(report.worst)} with {listed_channels(report.worst)}']
  if importance := report.importance():
    adjusted = dict(zip(importance, holm([difference.p_value for difference in importance.values()]), strict=True))
    rows = [[channel, points_text(difference.difference), interval_text(difference.interval(), signed=True),
             'yes' if adjusted[channel] < LEVEL else 'no']
            for channel, difference in sorted(importance.items(), key=lambda item: -item[1].difference)]
    lines += ['', 'channel importance: points of accuracy that are lost when a channel is left out',
              "(Newcombe's paired interval; exact McNemar test, p by Holm over all channels):", '',
              *table_lines(['channel', 'points', '95% interval', f'p < {LEVEL}'], rows)]
  return [*lines, '', f'every subset in {folder.subsets_table} and {folder.subsets.name}, every prediction in '
          f'{folder.subset_predictions.name}']

"""Formats numbers, channels and tables; there are no line breaks between a number and its unit or interval."""

from collections.abc import Sequence

from mils_jax.metrics import Accuracy, MeanDifference, PairedDifference, RelativeAccuracy, SeedSpread
from mils_jax.metrics.paired import p_text

DIFFERENCE = ['difference', '95% interval', 'p']


def unbroken(text: str) -> str:
  """The text with non-breaking spaces."""
  return text.replace(' ', '\u00a0')


def grouped(number: float) -> str:
  """A number with thousands separators: '1,234,567' for 1234567."""
  return f'{number:,.0f}'


def short(number: float) -> str:
  """A number with four digits and a unit prefix: '1.315 G' for 1314665159."""
  for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
    if number >= size:
      return unbroken(f'{number / size:.4g} {unit}')
  return f'{number:.4g}'


def percent(rate: float, digits: int = 2) -> str:
  """A rate in percent: '66.00%' for 0.66."""
  return f'{100 * rate:.{digits}f}%'


def points_text(difference: float) -> str:
  """A difference of rates in percentage points: '-1.2' for -0.0125."""
  return f'{100 * difference:+z.1f}'


def interval_text(interval: tuple[float, float], signed: bool = False) -> str:
  """A 95% interval of rates, in percent or points: '[61.5 to 70.2]'."""
  low, high = (f'{100 * end:{"+" if signed else ""}z.1f}' for end in interval)
  return unbroken(f'[{low} to {high}]')


def accuracy_text(accuracy: Accuracy) -> str:
  """An accuracy with its interval: '66.00% [61.5 to 70.2]'."""
  return unbroken(f'{percent(accuracy.rate)} {interval_text(accuracy.interval())}')


def share_text(share: RelativeAccuracy) -> str:
  """'101.0% [95.7 to 106.6]'."""
  return f'{percent(share.ratio, 1)} {interval_text(share.interval())}'


def p_cell(p_value: float) -> str:
  """A p value for a table's column: '0.82' or '< 0.001'."""
  return unbroken(p_text(p_value).removeprefix('p ').removeprefix('= '))


def difference_cells(found: PairedDifference | MeanDifference) -> list[str]:
  """The cells of the columns `DIFFERENCE`, such as ['+0.7', '[-2.9 to +4.2]', '0.80']."""
  return [points_text(found.difference), interval_text(found.interval(), signed=True), p_cell(found.p_value)]


def spread_text(spread: SeedSpread) -> str:
  """The spread over seeds: 'std 0.80 over 3 seeds, mean [64.1 to 67.9]', or a note that there is one seed."""
  if len(spread.values) < 2:
    return unbroken('one seed')
  return (unbroken(f'std {100 * spread.std:.2f} over {len(spread.values)} seeds,') + ' '
          + unbroken(f'mean {interval_text(spread.interval())}'))


def duration(seconds: float) -> str:
  """A duration: '45 s', '12.5 min' or '3 h 05 min'."""
  if seconds < 100:
    return f'{seconds:.0f} s'
  minutes = round(seconds / 60)
  return f'{seconds / 60:.1f} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60:02} min'


def listed_channels(channels: Sequence[str]) -> str:
  """The channels as text, 'R, G, B'; only the first seven where there are more than eight."""
  return ', '.join(channels if len(channels) <= 8 else (*channels[:7], f'... {len(channels)} in all'))


def channels_text(results: dict) -> str:
  """The channels in results.json as text: 'R, B (missing: G)'."""
  missing = [channel for channel in results['input_channels'] if channel not in results['channels']]
  return ', '.join(results['channels']) + (f' (missing: {", ".join(missing)})' if missing else '')


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = ()) -> list[str]:
  """A Markdown table that reads well on a terminal too.

  Args:
    columns: titles of the columns.
    rows: rows of cells, as many as there are columns.
    words: titles of the columns that are aligned left, as the first always is; the others are aligned right.
  """
  columns, *rows = [[cell.replace('\u00a0', ' ') for cell in row] for row in (columns, *rows)]
  left = [index == 0 or column in words for index, column in enumerate(columns)]
  widths = [max(3, *(len(row[index]) for row in (columns, *rows))) for index in range(len(columns))]
  lines = ['| ' + ' | '.join(cell.ljust(width) if flush else cell.rjust(width)
                             for cell, width, flush in zip(row, widths, left, strict=True)) + ' |'
           for row in (columns, *rows)]
  rule = ['-' * width + ('-' if flush else ':') for width, flush in zip(widths, left, strict=True)]
  return [lines[0], f'|-{"|-".join(rule)}|', *lines[1:]]

"""Numbers and channels as the reports print them; what belongs together is joined by spaces that no line breaks at."""

from collections.abc import Iterable

from mils_jax.metrics import Accuracy, SeedSpread
from mils_jax.metrics.paired import p_text

__all__ = ['accuracy_text', 'interval_text', 'p_cell', 'p_text', 'percent', 'points_text', 'short', 'spread_text',
           'subset_name', 'subsets_in_order', 'unbroken']


def unbroken(text: str) -> str:
  """The text with spaces at which no line ends."""
  return text.replace(' ', '\u00a0')


def percent(rate: float, digits: int = 2) -> str:
  """'66.00 %'."""
  return unbroken(f'{100 * rate:.{digits}f} %')


def accuracy_text(accuracy: Accuracy) -> str:
  """'66.00 % [61.5 to 70.2]'."""
  return f'{percent(accuracy.rate)} {interval_text(accuracy.interval())}'


def interval_text(interval: tuple[float, float], signed: bool = False) -> str:
  """A 95% interval of rates, in percent or points: '[61.5 to 70.2]'."""
  low, high = (f'{100 * end:{"+" if signed else ""}.1f}' for end in interval)
  return unbroken(f'[{low} to {high}]')


def p_cell(p_value: float) -> str:
  """'0.82' or '< 0.001', for a column that is named p."""
  return unbroken(p_text(p_value).removeprefix('p ').removeprefix('= '))


def points_text(difference: float) -> str:
  return f'{100 * difference:+.1f}'


def spread_text(spread: SeedSpread) -> str:
  """'\u00b1 0.80 over 3 seeds, mean [64.1 to 67.9]', or that there is one seed."""
  if len(spread.values) < 2:
    return unbroken('one seed')
  return (unbroken(f'\u00b1 {100 * spread.deviation:.2f} over {len(spread.values)} seeds,') + ' '
          + unbroken(f'mean {interval_text(spread.interval())}'))


def short(number: float) -> str:
  """1314665159 -> '1.315 G': four digits and the unit."""
  for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
    if number >= size:
      return unbroken(f'{number / size:.4g} {unit}')
  return f'{number:.4g}'


def subset_name(channels: tuple[str, ...]) -> str:
  """'RGB' for single letters, else 'red+nir'."""
  return ('' if all(len(channel) == 1 for channel in channels) else '+').join(channels)


def subsets_in_order(subsets: Iterable[tuple[str, ...]], input_channels: tuple[str, ...]) -> list[tuple[str, ...]]:
  """The largest first, those of one size in the order of the input_channels."""
  return sorted(set(subsets), key=lambda subset: (-len(subset), [input_channels.index(channel) for channel in subset]))

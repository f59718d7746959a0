"""Numbers as the reports print them."""

from mils_jax.evaluation.statistics import Accuracy, SeedSpread
from mils_jax.evaluation.statistics.paired import p_text

__all__ = ['accuracy_text', 'interval_text', 'p_text', 'points_text', 'short', 'spread_text']


def accuracy_text(accuracy: Accuracy) -> str:
  """'66.00 % [61.5 to 70.2]'."""
  return f'{100 * accuracy.rate:.2f} % {interval_text(accuracy.interval())}'


def interval_text(interval: tuple[float, float], signed: bool = False) -> str:
  """A 95 % interval of rates, in percent or points: '[61.5 to 70.2]'."""
  low, high = (f'{100 * end:{"+" if signed else ""}.1f}' for end in interval)
  return f'[{low} to {high}]'


def points_text(difference: float) -> str:
  return f'{100 * difference:+.1f}'


def spread_text(spread: SeedSpread) -> str:
  """'\u00b1 0.8 (3 seeds), mean [64.1 to 67.9]', or that there is one seed."""
  if len(spread.values) < 2:
    return 'one seed'
  return (f'\u00b1 {100 * spread.deviation:.2f} over {len(spread.values)} seeds, '
          f'mean {interval_text(spread.interval())}')


def short(number: float) -> str:
  """1314665159 -> '1.315 G': four digits and the unit."""
  for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
    if number >= size:
      return f'{number / size:.4g} {unit}'
  return f'{number:.4g}'

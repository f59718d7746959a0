"""The tables that end a sweep, as lines of Markdown that also read well on a screen."""

import math

from scipy import special

from mils_jax.metrics import Accuracy, SeedSpread
from mils_jax.report.published import judge_share
from mils_jax.report.text import grouped, markdown_table
from mils_jax.sweeps.comparison import AblationRow, Difference, ModelRow, Size, SpecialistTable

LEVEL = 0.05  # of significance, after Holm's correction
COST = ['MACs', 'FLOPs (2 x MACs)', 'parameters']
INTERVALS = ("Brackets hold 95% intervals over the choice of test images: Wilson's of accuracies, Newcombe's "
             "(method 10) of the difference of two runs, Bonett and Price's of means over runs or subsets. ")


def specialist_lines(tables: list[SpecialistTable]) -> list[str]:
  """A table for each generalist: subset by subset, then the mean and the worst difference."""
  if not tables:
    return ['A generalist and its specialists have to be finished before they can be compared.']
  lines = []
  for table in tables:
    rows = [[','.join(row.subset), _accuracy(row.specialist), _accuracy(row.generalist), _points(row.difference),
             _p(row.adjusted_p), *_cost(row.size)] for row in table.rows]
    worst = table.worst
    lines += [
        *markdown_table(['channels', 'specialist', table.generalist, 'difference in points', 'Holm p', *COST], rows),
        '',
        f'{table.generalist}, one network for all of them: {grouped(table.size.macs)} MACs, '
        f'{grouped(table.size.parameters)} parameters.',
        f'Mean difference: {_points(table.mean)} points ({_judged(table.mean.p_value)}). Worst: '
        f'{_points(worst.difference)} points, on {",".join(worst.subset)}.', '']
  return [*lines, f'A difference below 0: the generalist is behind the specialist. {INTERVALS}'
          'P values are of paired tests on the same images, adjusted for the number of rows.']


def ablation_lines(rows: list[AblationRow]) -> list[str]:
  """Every member over all subsets, against the first."""
  first = next((row for row in rows if row.difference is None), rows[0])
  compared = any(row.difference for row in rows)
  lines = markdown_table(
      ['member', 'all channels', 'mean over subsets', 'seeds', 'worst subset', 'difference of the mean in points',
       'Holm p', 'larger than noise'],
      [[row.name, _accuracy(row.full), _spread(row.mean), str(len(row.mean.values)),
        f'{row.worst.rate:.2%} ({",".join(row.worst_subset)})',
        *([_points(row.difference), _p(row.adjusted_p), _larger(row, first)] if row.difference else ['', '', ''])]
       for row in rows])
  if not compared:
    return [*lines, '', 'Differences need the first member of the sweep and another to be finished.']
  several = len(first.mean.values) > 1
  noise = (f' and larger than what seeds alone bring about: the seeds of {first.name} have a standard deviation of '
           f'{100 * first.mean.deviation:.2f} points, so that one run may lie {100 * _seed_noise(first.mean, 1):.2f} '
           'points from their mean (95%, Student\'s t)') if several else (
               '; what another seed would bring about is not in it, as the first member has only one')
  return [*lines, '', f'Differences are to {first.name}. {INTERVALS}Larger than noise: Holm\'s p below {LEVEL}{noise}.']


def model_lines(rows: list[ModelRow]) -> list[str]:
  """The networks in the form of the report's Table II, and a verdict on each."""
  first = next((row for row in rows if row.difference is None), rows[0])
  titles = ['model', 'stages', 'test accuracy', 'seeds', 'sd over seeds', *COST, f'share of {first.name}']
  body = [[row.name, str(row.stages or ''), _accuracy(row.accuracy), str(len(row.seeds.values)),
           f'{100 * row.seeds.deviation:.2f} points' if len(row.seeds.values) > 1 else '', *_cost(row.size),
           _share(row)] for row in rows]
  verdicts = [f'- {_verdict(row, first)}' for row in rows if row.difference]
  return [*markdown_table(titles, body), '', *verdicts, *([''] if verdicts else []),
          f'{INTERVALS}Seeds are averaged; how far they differ stands apart. P values are Holm\'s.']


def _verdict(row: ModelRow, first: ModelRow) -> str:
  points = 100 * row.difference.difference
  judged = f'{abs(points):.1f} points {"better" if points > 0 else "worse"} than' if points else 'as good as'
  return (f'{row.name} is {judged} {first.name} on {row.accuracy.count} images: {_judged(row.adjusted_p)} '
          f'({_points(row.difference)} points; {_p(row.adjusted_p, "p ")}). It reaches {_share(row)} of its accuracy, '
          f'{judge_share(row.share)}, with {row.size.macs / first.size.macs:.2f} times the MACs and '
          f'{row.size.parameters / first.size.parameters:.2f} times the parameters.')


def _larger(row: AblationRow, first: AblationRow) -> str:
  noise = _seed_noise(first.mean, len(row.mean.values)) if len(first.mean.values) > 1 else 0.0
  return 'yes' if row.adjusted_p < LEVEL and abs(row.difference.difference) > noise else 'no'


def _seed_noise(reference: SeedSpread, runs: int) -> float:
  """How far the mean of so many runs may lie from the reference's by the choice of seeds alone (95%)."""
  seeds = len(reference.values)
  return float(-special.stdtrit(seeds - 1, 0.025)) * reference.deviation * math.sqrt(1 / seeds + 1 / runs)


def _judged(p_value: float) -> str:
  return 'distinguishable' if p_value < LEVEL else 'not distinguishable'


def _accuracy(accuracy: Accuracy) -> str:
  low, high = accuracy.interval()
  return f'{accuracy.rate:.2%} [{100 * low:.1f}, {100 * high:.1f}]'


def _points(difference: Difference) -> str:
  low, high = difference.interval()
  return f'{100 * difference.difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]'


def _spread(spread: SeedSpread) -> str:
  return f'{spread.mean:.2%}' + (f' (sd {100 * spread.deviation:.2f})' if len(spread.values) > 1 else '')


def _share(row: ModelRow) -> str:
  if row.share is None:
    return ''
  low, high = row.share.interval()
  return f'{row.share.ratio:.1%} [{100 * low:.1f}, {100 * high:.1f}]'


def _p(p_value: float, name: str = '') -> str:
  if p_value < 0.001:
    return f'{name}< 0.001'
  return f'{name and name + "= "}{p_value:.3f}'


def _cost(size: Size) -> list[str]:
  return [grouped(number) for number in (size.macs, size.flops, size.parameters)]

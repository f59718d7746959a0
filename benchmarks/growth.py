"""How the time of DynamicResNet12 grows with the batch, the image's size, K and the input channels.

    python -m benchmarks.growth

One of them changes at a time, the others stay as in `BASE`. Every value has its own process, and they run in
alternating rounds; times are medians. The slope is that of the line through the logarithms: with slope 1 twice as much
takes twice as long. The expected slope is that of the useful multiply-adds: each convolution once and the mixing of
kernels.
"""

import argparse
import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.baseline import Task
from benchmarks.rounds import Baseline

BASE = {'network': 'dynamic_resnet12', 'image_size': 32, 'batch': 32, 'num_kernels': 4, 'channels': 3}
VALUES = {'batch': (8, 16, 32, 64, 128), 'image_size': (32, 48, 64, 96), 'num_kernels': (1, 2, 4, 8),
          'channels': (1, 3, 6, 12)}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--works', default='infer,train')
  parser.add_argument('--rounds', type=int, default=5, help='rounds of each value')
  parser.add_argument('--seconds', type=float, default=1.0, help='of a round, after as long a warm-up')
  options = parser.parse_args()
  for work in options.works.split(','):
    for name, values in VALUES.items():
      print('\n'.join(measure(work, name, values, options)), flush=True)


def measure(work: str, name: str, values: Sequence[int], options: argparse.Namespace) -> list[str]:
  """The lines of one dimension."""
  baselines: dict[int, Baseline] = {}
  try:
    for value in values:
      baselines[value] = Baseline(Task('jax', work, **BASE | {name: value}))
    for _ in range(options.rounds):
      for baseline in baselines.values():
        baseline.run_round(options.seconds)
    times = [1000 * statistics.median(baseline.rounds) for baseline in baselines.values()]
    macs = [baseline.ready['macs'] * baseline.task.batch / 1e9 for baseline in baselines.values()]
    lines = [f'{work}, {name}: slope {slope(values, times):.2f}, expected {slope(values, macs):.2f}']
    lines += [f'  {value:4} {time:9.1f} ms {amount:8.2f} G multiply-adds forward'
              for value, time, amount in zip(values, times, macs, strict=True)]
    return lines
  finally:
    for baseline in baselines.values():
      baseline.close()


def slope(values: Sequence[int], results: Sequence[float]) -> float:
  return float(np.polyfit(np.log(values), np.log(results), 1)[0])


if __name__ == '__main__':
  main()

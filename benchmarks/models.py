"""How fast the networks train and classify, beside plain PyTorch, and how far that is from the machine's limit.

    python -m benchmarks.models --output models.json                       # everything; needs torch
    python -m benchmarks.models --networks dynamic_resnet12 --batches 32 --baselines jax:auto,pytorch:parallel
    python -m benchmarks.models --works infer --batches 1,32 --networks resnet34 \\
        --baselines jax:auto,stablehlo:auto,onnx:auto,pytorch:auto     # exports; needs the extra onnx too

Every baseline has its own process, and they run in alternating rounds. Figures are medians over the rounds, of the
median step of each; ratios are taken round by round. The limit is the fastest 2048 x 2048 matrix product of float32
that any of numpy, jax and torch did in the same run, over the useful multiply-adds: each convolution once and the
mixing of kernels, three times that for training.
"""

import argparse
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.baseline import RATE_SIZE, Task
from benchmarks.rounds import Baseline, BaselineError, ratios

NETWORKS = ('dynamic_resnet12', 'wide_cnn', 'resnet34')
WORKS = ('train', 'infer')
DYNAMIC = ('jax:auto', 'jax:outputs', 'jax:kernels', 'pytorch:parallel', 'pytorch:grouped')
PLAIN = ('jax:auto', 'pytorch:auto')
OURS = 'jax:auto'
AGAINST = ('pytorch:parallel-compiled', 'pytorch:auto-compiled', 'pytorch:parallel', 'pytorch:auto')  # the first there


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--networks', default=','.join(NETWORKS))
  parser.add_argument('--image_sizes', default='84,32', help='pixels')
  parser.add_argument('--batches', default='1,32,128', help='images')
  parser.add_argument('--works', default=','.join(WORKS))
  parser.add_argument('--baselines', default='', help=f"SIDE:VARIANT, comma-separated; default: {', '.join(DYNAMIC)}; "
                                                   f"of networks without dynamic convolutions {', '.join(PLAIN)}")
  parser.add_argument('--compiled', action='store_true', help='PyTorch by torch.compile, too')
  parser.add_argument('--precision', default='float32', help='float32 or bfloat16')
  parser.add_argument('--rounds', type=int, default=5, help='rounds of each baseline')
  parser.add_argument('--steps', type=int, default=1, help='dispatched before they are waited for')
  parser.add_argument('--seconds', type=float, default=1.0, help='of a round, after as long a warm-up')
  parser.add_argument('--output', default='', help='file for all figures, JSON')
  options = parser.parse_args()
  cases = []
  for network in options.networks.split(','):
    for size in map(int, options.image_sizes.split(',')):
      for batch in map(int, options.batches.split(',')):
        for work in options.works.split(','):
          cases.append(run_case(options, network, size, batch, work))
          print('\n'.join(case_lines(cases[-1])), flush=True)
          if options.output:
            Path(options.output).write_text(json.dumps({'cores': os.cpu_count(), 'cases': cases}, indent=2) + '\n')


def baselines_of(options: argparse.Namespace, network: str) -> Sequence[str]:
  dynamic = network == 'dynamic_resnet12'
  names = options.baselines.split(',') if options.baselines else DYNAMIC if dynamic else PLAIN
  if options.compiled:
    names = [*names, 'pytorch:parallel-compiled' if dynamic else 'pytorch:auto-compiled']
  return names


def run_case(options: argparse.Namespace, network: str, size: int, batch: int, work: str) -> dict:
  """Runs all baselines at one network, size, batch and work; one that cannot run it is named."""
  baselines: dict[str, Baseline] = {}
  missing = []
  try:
    for name in baselines_of(options, network):
      side, variant = name.split(':')
      try:
        baselines[name] = Baseline(Task(side, work, variant, network, size, batch, options.precision, options.steps))
      except BaselineError:  # PyTorch normalises no batch of one value
        if name == OURS:
          raise
        missing.append(name)
    products = [Baseline(Task(side, 'product')) for side in ('numpy', 'jax', 'pytorch')]
    for _ in range(options.rounds):
      for baseline in baselines.values():
        baseline.run_round(options.seconds)
      for product in products:
        product.run_round(0.2)
    limit = RATE_SIZE**3 / min(min(product.rounds) for product in products)
    macs = baselines[OURS].ready['macs'] * batch * (3 if work == 'train' else 1)
    against = next((baselines[name] for name in AGAINST if name in baselines), None)
    return {
        'network': network, 'image_size': size, 'batch': batch, 'work': work, 'precision': options.precision,
        'device': baselines[OURS].ready['device'], 'limit_macs_per_second': limit, 'useful_macs': macs,
        'baselines': {name: figures(baseline, batch, macs / limit, against) for name, baseline in baselines.items()},
        'missing': missing}
  finally:
    for baseline in (*baselines.values(), *locals().get('products', ())):
      baseline.close()


def figures(baseline: Baseline, batch: int, floor: float, against: Baseline | None) -> dict:
  seconds = statistics.median(baseline.rounds)
  times = ratios(against, baseline) if against else [1.0]
  return {'images_per_second': batch / seconds, 'share_of_limit': floor / seconds,
          'times': statistics.median(times), 'times_lowest': times[0], 'times_highest': times[-1],
          'peak_bytes': baseline.peak_bytes(), 'turns': baseline.rounds,
          **{name: baseline.ready[name] for name in ('compile_seconds', 'compile_bytes')}}


def case_lines(case: dict) -> list[str]:
  size, limit = case['image_size'], case['limit_macs_per_second'] / 1e9
  lines = [f'{case["network"]}, {size}x{size}, batch {case["batch"]}, {case["work"]}, {case["precision"]} on '
           f'{case["device"]}; limit {limit:.0f} G multiply-adds/s']
  for name, found in case['baselines'].items():
    spread = f'({found["times_lowest"]:.2f} to {found["times_highest"]:.2f})'
    lines.append(f'  {name:26}{found["images_per_second"]:10.1f} images/s {found["share_of_limit"]:6.1%} of the '
                 f'limit {found["times"]:6.2f} times {spread:15} {found["peak_bytes"] / 1e9:6.2f} GB; '
                 f'compiling {found["compile_seconds"]:5.1f} s {found["compile_bytes"] / 1e9:6.2f} GB')
  return lines + [f'  {name:26} cannot run this; the reason is above' for name in case['missing']]


if __name__ == '__main__':
  main()

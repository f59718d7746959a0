"""How fast each implementation of each distinct convolution is, forward and with gradients (for lowering/choice.py).

    python -m benchmarks.layers --image_size 84 --batch 32

They run in alternating rounds, so that a machine that slows down slows all of them. Figures are the shortest times in
milliseconds, which are less sensitive to other work on the machine than medians. The floor is the multiply-adds of one
plain convolution, by its definition, over the rate of a 2048 x 2048 matrix product, measured in the same run;
Winograd's takes fewer multiply-adds, and can be below it.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from mils_jax.distributed.huge_pages import start_with_huge_pages
from mils_jax.nn.convolution import convolve
from mils_jax.nn.dynamic_conv import mix_kernels, mix_outputs
from mils_jax.nn.lowering.choice import (
  faster_gradient_implementation,
  faster_implementation,
  faster_mix,
  faster_mixed_implementation,
)
from mils_jax.nn.lowering.gemm import output_size

KERNELS = 4
DYNAMIC = {  # (map's share of the image's side, input channels, output channels, kernel size, stride)
    'stem': (1, 3, 64, 3, 1), 'stage 1, first': (2, 64, 64, 3, 2), 'stage 1': (4, 64, 64, 3, 1),
    'stage 2, first': (4, 64, 128, 3, 2), 'stage 2': (8, 128, 128, 3, 1), 'stage 2, shortcut': (4, 64, 128, 1, 2),
    'stage 3, first': (8, 128, 256, 3, 2), 'stage 3': (16, 256, 256, 3, 1)}
PLAIN = {
    'ResNet34 stem': (1, 3, 64, 7, 2), 'ResNet34 stage 1': (4, 64, 64, 3, 1), 'ResNet34 stage 2': (8, 128, 128, 3, 1),
    'ResNet34 stage 3': (16, 256, 256, 3, 1), 'ResNet34 stage 4': (32, 512, 512, 3, 1),
    'WideCNN stage 1': (1, 3, 256, 7, 2), 'WideCNN stage 2': (2, 256, 256, 3, 2),
    'WideCNN stage 3': (4, 256, 256, 3, 2), 'WideCNN stage 4': (8, 256, 256, 3, 2)}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--image_size', type=int, default=32)
  parser.add_argument('--batch', type=int, default=128)
  parser.add_argument('--rounds', type=int, default=7, help='rounds of each way')
  options = parser.parse_args()
  backend = jax.default_backend()
  rate = matrix_product_rate(options.rounds)
  print(f'{os.cpu_count()} cores, jax {jax.__version__} on {backend}, {options.image_size}x{options.image_size}, batch '
        f'{options.batch}, {options.rounds} rounds; matrix product {rate / 1e9:.0f} G multiply-adds/s')
  for name, shape in {**DYNAMIC, **PLAIN}.items():
    measure(name, shape, options, rate, dynamic=name in DYNAMIC)


def ways_of(shape: tuple, batch: int, size: tuple[int, int], dynamic: bool) -> tuple[dict[str, Callable], str]:
  """Every implementation of one convolution, by its name, and the name of the chosen one."""
  _, channels, features, kernel_size, stride = shape
  kernel, platform, dtype = (kernel_size, channels, features), jax.default_backend(), jnp.dtype('float32')
  products = ['patches'] + ['winograd'] * ((kernel_size, stride) == (3, 1))
  names = ['lax', *products]
  way = faster_implementation(platform, dtype, size, kernel, stride)
  if not dynamic:
    return {name: partial(convolve, implementation=name) for name in names}, way
  mix = faster_mix(platform, batch, size[0] * size[1])
  if mix == 'kernels':
    way = faster_mixed_implementation(platform, dtype, batch, size, kernel, stride)
  chosen = f'{mix} {way}'
  ways = {f'outputs {name}': partial(mix_outputs, implementation=name) for name in names}
  if stride > 1 or kernel_size == 1:
    return ways | {f'kernels {name}': partial(mix_kernels, implementation=name) for name in products}, chosen
  for name in products:
    for gradient in (*products, 'taps'):
      ways[f'kernels {name}, gradient {gradient}'] = partial(mix_kernels, implementation=name, gradient_way=gradient)
  gradient = f', gradient {faster_gradient_implementation(platform, size, kernel)}' if mix == 'kernels' else ''
  return ways, chosen + gradient


def input_side(image_size: int, shape: tuple) -> int:
  side = image_size
  for _ in range(shape[0].bit_length() - 1):
    side = -(-side // 2)
  return side


def output_side(image_size: int, shape: tuple) -> int:
  return output_size(input_side(image_size, shape), shape[3], shape[4])


def measure(name: str, shape: tuple, options: argparse.Namespace, rate: float, dynamic: bool) -> None:
  """Measures one convolution and prints its lines."""
  _, channels, features, kernel_size, stride = shape
  side, out = input_side(options.image_size, shape), output_side(options.image_size, shape)
  ways, chosen = ways_of(shape, options.batch, (out, out), dynamic)
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (options.batch, side, side, channels))
  kernel = jax.random.normal(keys[1], (*(KERNELS,) * dynamic, kernel_size, kernel_size, channels, features))
  attention = (jax.nn.softmax(jax.random.normal(keys[2], (options.batch, KERNELS))),) * dynamic
  programs = {}
  for way, function in ways.items():
    def forward(x, kernel, *attention, function=function):
      return function(x, kernel, *attention, stride=stride)
    def gradients(*arguments, forward=forward):
      positions = tuple(range(len(arguments)))
      return jax.grad(lambda *arguments: jnp.square(forward(*arguments)).sum(), positions)(*arguments)
    programs[way] = (jax.jit(forward), jax.jit(gradients))
  times = {(way, kind): [] for way in ways for kind in (0, 1)}
  for number in range(options.rounds + 1):
    for (way, kind), taken in times.items():
      started = time.perf_counter()
      jax.block_until_ready(programs[way][kind](x, kernel, *attention))
      if number:  # the first one compiles
        taken.append(1000 * (time.perf_counter() - started))
  floor = 1000 * options.batch * out * out * kernel_size**2 * channels * features / rate
  print(f'{name}: {side}x{side}x{channels} to {out}x{out}x{features}, kernel {kernel_size}, stride {stride}; floor '
        f'{floor:.1f} ms, with gradients {3 * floor:.1f}')
  for way in ways:
    print(f'  {way:34}{min(times[way, 0]):8.1f} forward{min(times[way, 1]):8.1f} with gradients'
          f'{"  <- chosen" if way == chosen else ""}', flush=True)


def matrix_product_rate(rounds: int) -> float:
  """Multiply-adds per second of the best 2048 x 2048 product of float32."""
  a, product = jnp.ones((2048, 2048)), jax.jit(jnp.dot)
  times = []
  for _ in range(rounds + 1):
    started = time.perf_counter()
    product(a, a).block_until_ready()
    times.append(time.perf_counter() - started)
  return 2048**3 / min(times)


if __name__ == '__main__':
  start_with_huge_pages()  # as main.py does
  main()

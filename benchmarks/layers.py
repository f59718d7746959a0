"""How fast each form of each distinct convolution is, forward and with gradients: what the choosers' rules rest on.

    python -m benchmarks.layers --image_size 84 --batch 32

Forms take turns, so that a machine that slows down slows all of them; figures are medians in milliseconds. The floor is
the multiply-adds of one plain convolution over the rate of a 2048 x 2048 matrix product, measured in the same run.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from mils_jax.models.convolution import convolution_form, convolve, output_size
from mils_jax.models.dynamic_conv import faster_formulation, mixed_kernels, parallel_convolutions

KERNELS = 4
DYNAMIC = {  # (map's share of the picture's side, input channels, output channels, kernel size, stride)
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
  parser.add_argument('--rounds', type=int, default=7, help='turns of each form')
  options = parser.parse_args()
  backend = jax.default_backend()
  rate = matrix_product_rate(options.rounds)
  print(f'{os.cpu_count()} cores, jax {jax.__version__} on {backend}, {options.image_size}x{options.image_size}, batch '
        f'{options.batch}, {options.rounds} rounds; matrix product {rate / 1e9:.0f} G multiply-adds/s')
  print(f'{"dynamic, K = 4":20} {"map":>5}  floor  parallel: forward, gradients  mixed: forward, gradients  chosen')
  for name, shape in DYNAMIC.items():
    side = output_side(options.image_size, shape)
    chosen = faster_formulation(backend, side * side)
    forms = {'parallel': parallel_convolutions, 'mixed': mixed_kernels}
    measure(name, shape, options, rate, forms, chosen, dynamic=True)
  print(f'{"plain":20} {"map":>5}  floor       lax: forward, gradients  patches: forward, gradients  chosen')
  for name, shape in PLAIN.items():
    side, (_, channels, _, kernel_size, _) = output_side(options.image_size, shape), shape
    chosen = convolution_form(backend, side * side * kernel_size**2 * channels)
    forms = {form: partial(convolve, form=form) for form in ('lax', 'patches')}
    measure(name, shape, options, rate, forms, chosen, dynamic=False)


def input_side(image_size: int, shape: tuple) -> int:
  side = image_size
  for _ in range(shape[0].bit_length() - 1):
    side = -(-side // 2)
  return side


def output_side(image_size: int, shape: tuple) -> int:
  return output_size(input_side(image_size, shape), shape[3], shape[4])


def measure(name: str, shape: tuple, options: argparse.Namespace, rate: float, forms: dict[str, Callable], chosen: str,
            dynamic: bool) -> None:
  """Prints one convolution's row."""
  _, channels, features, kernel_size, stride = shape
  side, out = input_side(options.image_size, shape), output_side(options.image_size, shape)
  keys = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(keys[0], (options.batch, side, side, channels))
  kernel = jax.random.normal(keys[1], (*(KERNELS,) * dynamic, kernel_size, kernel_size, channels, features))
  attention = (jax.nn.softmax(jax.random.normal(keys[2], (options.batch, KERNELS))),) * dynamic
  programs = {}
  for form, function in forms.items():
    def forward(x, kernel, *attention, function=function):
      return function(x, kernel, *attention, stride)
    def gradients(x, kernel, *attention, forward=forward):
      return jax.grad(lambda *arguments: jnp.square(forward(*arguments)).sum(), argnums=(0, 1))(x, kernel, *attention)
    programs[form] = (jax.jit(forward), jax.jit(gradients))
  times = {(form, kind): [] for form in forms for kind in (0, 1)}
  for turn in range(options.rounds + 1):
    for (form, kind), taken in times.items():
      started = time.perf_counter()
      jax.block_until_ready(programs[form][kind](x, kernel, *attention))
      if turn:  # the first one compiles
        taken.append(1000 * (time.perf_counter() - started))
  floor = 1000 * options.batch * out * out * kernel_size**2 * channels * features / rate
  figures = '  '.join(f'{statistics.median(times[form, 0]):18.1f} {statistics.median(times[form, 1]):10.1f}'
                      for form in forms)
  print(f'{name:20} {f"{out}x{out}":>5}  {floor:5.1f}  {figures}  {chosen}', flush=True)


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
  main()

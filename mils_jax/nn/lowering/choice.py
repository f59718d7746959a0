"""Chooses the fastest way to compute a convolution, which on a CPU depends on its shape.

A module's `implementation` is the name of a way, 'lax' (XLA's own convolution), 'patches', 'winograd' or 'taps'
(gemm.py); the name of a platform, 'cpu', 'gpu' or 'tpu', for the fastest way there; or 'auto', for the fastest way on
whatever platform the program is compiled or exported for. 'auto' is traced once for CPU and once for the others; name
the platform where it is known to save that.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from mils_jax.nn.lowering.chunks import Chunks, whole_chunk

PLATFORMS = ('cpu', 'gpu', 'tpu')


@dataclasses.dataclass(frozen=True)
class Thresholds:
  """Thresholds that decide between implementations on a CPU.

  Measured on two cores of an AMD EPYC with AVX-512, jax 0.10.2, by `python -m benchmarks.layers` and confirmed by whole
  training steps (docs/performance.md); the same limits held on a machine with AVX2.

  Attributes:
    cache: bytes of matrices that are worth making at once.
    kernel_multiple: multiple of the kernels' bytes that a chunk of their gradient has at least, as adding up the
      gradient moves as much memory for every chunk.
    min_share: smallest share of the samples that fit which a chunk may have; where the batch divides less well, it is
      computed at once.
    largest_patches: numbers in one image's patches, above which they outgrow caches and memory, so XLA's convolution
      is used.
    winograd_channels: input and output channels, below which there is too little to multiply for Winograd's products.
    winograd_overhang: ratio of the tiles' positions to those of the map, above which too many lie outside.
    own_winograd_kernel: channels times features, above which a sample's own kernel in Winograd's form, 16 / 9 times as
      large, leaves the second-level cache.
    few_samples: batch size up to which reading the K kernels dominates, so they are mixed first on any map.
    mix_positions: spatial positions of a map, from which mixing kernels first pays off.
    tap_positions: spatial positions of a map, from which one GEMM per tap of the kernel is large enough to be fast.
  """

  cache: int = 2**23
  kernel_multiple: int = 3
  min_share: float = 0.5
  largest_patches: int = 2**21
  winograd_channels: int = 32
  winograd_overhang: float = 1.5
  own_winograd_kernel: int = 64 * 64
  few_samples: int = 4
  mix_positions: int = 16
  tap_positions: int = 32


CPU = Thresholds()


def for_platform(function: Callable[..., jax.Array], implementation: str, *arrays: jax.Array) -> jax.Array:
  """`function(*arrays, implementation=...)`, with 'auto' replaced by the platform that it is compiled for."""
  if implementation != 'auto':
    return function(*arrays, implementation=implementation)
  cpu, others = (partial(function, implementation=platform) for platform in ('cpu', 'gpu'))
  return lax.platform_dependent(*arrays, cpu=cpu, default=others)


def platform_of(implementation: str) -> str:
  """The platform that an `implementation` other than 'auto' is made for: 'cpu' where it names a way."""
  return implementation if implementation in PLATFORMS else 'cpu'


def faster_implementation(platform: str, dtype: jnp.dtype, size: tuple[int, ...], kernel: tuple[int, ...],
                          stride: int) -> str:
  """The fastest implementation: 'lax', 'patches' or 'winograd'.

  On CPU the patches' matrix product is up to forty times faster than XLA's convolution (1x1 and 2x2 maps, gradients
  with strides) and at worst 1.2 times slower. Winograd's products take 4 / 9 of the multiply-adds where the map is
  even; their sums are exact enough in float32 only.

  Args:
    platform: 'cpu', 'gpu' or 'tpu'.
    dtype: dtype of the computation.
    size: height and width of the result.
    kernel: (k, C, features).
    stride: stride of the convolution.
  """
  if platform != 'cpu':
    return 'lax'
  kernel_size, channels, features = kernel
  height, width = size
  tiles = ((height + 1) // 2) * ((width + 1) // 2)
  if (kernel_size == 3 and stride == 1 and dtype == jnp.float32 and min(channels, features) >= CPU.winograd_channels
      and 4 * tiles <= CPU.winograd_overhang * height * width):
    return 'winograd'
  return 'patches' if height * width * kernel_size**2 * channels <= CPU.largest_patches else 'lax'


def faster_mix(platform: str, batch: int, positions: int) -> str:
  """What attention mixes the fastest, 'outputs' or 'kernels', for `batch` maps of `positions` outputs.

  Mixing the kernels first costs, per sample, the writing and reading of one whole kernel, and saves (K - 1) / K of the
  convolution. GPU and TPU run the K convolutions as one.
  """
  worth = positions >= CPU.mix_positions or batch <= CPU.few_samples
  return 'kernels' if platform == 'cpu' and worth else 'outputs'


def faster_mixed_implementation(platform: str, dtype: jnp.dtype, batch: int, size: tuple[int, ...],
                                kernel: tuple[int, ...], stride: int) -> str:
  """The fastest implementation, 'patches' or 'winograd', where each of `batch` samples has its own mixed kernel.

  The arguments are those of `faster_implementation`.
  """
  small = batch > CPU.few_samples and kernel[1] * kernel[2] <= CPU.own_winograd_kernel
  winograd = small and faster_implementation(platform, dtype, size, kernel, stride) == 'winograd'
  return 'winograd' if winograd else 'patches'


def faster_gradient_implementation(platform: str, size: tuple[int, ...], kernel: tuple[int, ...]) -> str:
  """The fastest way, 'patches' or 'taps', to the gradients of each sample's own mixed kernel with stride 1.

  The gradient of a sample's kernel is needed for that of all K kernels and for that of the attention. Where it is
  larger than the sample's patches, it is best used tap by tap, while it is in the cache. The arguments are those of
  `faster_implementation`.
  """
  by_taps = platform == 'cpu' and kernel[0] > 1 and CPU.tap_positions <= math.prod(size) <= kernel[2]
  return 'taps' if by_taps else 'patches'


def chunks_of(platform: str, way: str, gradient_way: str, x: jax.Array, size: tuple[int, ...], kernels: jax.Array,
              own_kernels: int) -> Chunks:
  """How many samples are computed at once: as many as the cache holds where that is faster, else all.

  On CPU, chunks are faster with patches and taps where these and the samples' own kernels are larger than the result,
  which chunks move through memory a second time.

  Args:
    platform: 'cpu', 'gpu' or 'tpu'.
    way: how the convolution is computed.
    gradient_way: how the gradients of the kernels are computed. Adding them up takes time for every chunk, so the
      larger the kernels are, the fewer chunks.
    x: (B, H, W, C).
    size: height and width of the result.
    kernels: (..., k, k, C, features).
    own_kernels: number of kernels that are made for each sample, 0 where all share one.
  """
  positions, rows, features = math.prod(size), math.prod(kernels.shape[-4:-1]), kernels.shape[-1]
  numbers = positions * rows + own_kernels * rows * features
  at_once = {'patches': numbers, 'taps': numbers // math.prod(kernels.shape[-4:-2])}

  def chunk(way: str, cache: int) -> int:
    if way not in at_once or platform != 'cpu' or numbers <= positions * features:
      return len(x)
    return whole_chunk(len(x), cache // (at_once[way] * x.dtype.itemsize), CPU.min_share)

  return Chunks(chunk(way, CPU.cache), chunk(gradient_way, max(CPU.cache, CPU.kernel_multiple * kernels.nbytes)))

"""Convolution with zero padding k // 2, in the implementation that suits the machine and the shape.

Forms of the same function: XLA's own convolution (`lax`), the image's patches times the kernel as one matrix product
(`patches`), Winograd's sixteen smaller products (`winograd`), and, for the gradients of large kernels, a product for
each place of the kernel (`taps`). On GPU and TPU the first is the fast one; on CPU it depends on the shape
(docs/performance.md).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from mils_jax.nn.lowering.chunks import CACHE, Chunks, by_samples, whole_chunk
from mils_jax.nn.lowering.gemm import Patches, Products, Taps, Winograd, convolution_of, output_size

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
LARGEST_PATCHES = 2**21  # per image: 8 MiB in float32


def faster_implementation(backend: str, size: tuple[int, int], kernel: tuple[int, int, int], stride: int) -> str:
  """The faster implementation, 'lax', 'patches' or 'winograd'.

  On CPU the patches' matrix product is up to forty times faster than XLA's convolution (1x1 and 2x2 maps, gradients
  with strides) and at worst 1.2 times slower; it stops paying where the patches of an image outgrow the caches and the
  memory. Winograd's products take 4 / 9 of the multiply-adds where the map is even, and pay unless more than a third of
  the tiles' places lie outside of it, or there are too few channels to multiply.

  Args:
    backend: 'cpu', 'gpu' or 'tpu'.
    size: height and width of the result.
    kernel: (k, C, features).
    stride: of the convolution.
  """
  kernel_size, channels, features = kernel
  height, width = size
  if backend != 'cpu':
    return 'lax'
  tiles = ((height + 1) // 2) * ((width + 1) // 2)
  if kernel_size == 3 and stride == 1 and min(channels, features) >= 32 and 4 * tiles <= 1.5 * height * width:
    return 'winograd'
  return 'patches' if height * width * kernel_size**2 * channels <= LARGEST_PATCHES else 'lax'


def products_of(implementation: str, kernel_size: int, stride: int) -> Products:
  """The matrix products of a implementation that has any; raises ValueError for others and where it cannot serve the kernel."""
  if implementation == 'winograd':
    if (kernel_size, stride) != (3, 1):
      raise ValueError(f"implementation 'winograd' is for kernel size 3 and stride 1, not {kernel_size} and {stride}")
    return Winograd()
  if implementation == 'taps':
    if stride != 1:
      raise ValueError(f"implementation 'taps' is for stride 1, not {stride}")
    return Taps(kernel_size)
  if implementation == 'patches':
    return Patches(kernel_size, stride)
  raise ValueError(f"implementation '{implementation}' is none of auto, lax, patches, taps, winograd")


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1, implementation: str = 'auto') -> jax.Array:
  """Convolves images with a kernel.

  Args:
    x: (B, H, W, C).
    kernel: (k, k, C, features), k odd.
    stride: of the convolution.
    implementation: 'lax', 'patches', 'winograd' (k = 3 and stride 1 only), or 'auto' for the fastest one.

  Returns:
    (B, H', W', features), H' = (H - 1) // stride + 1.
  """
  kernel_size = kernel.shape[0]
  size = tuple(output_size(side, kernel_size, stride) for side in x.shape[1:3])
  if implementation == 'auto':
    implementation = faster_implementation(jax.default_backend(), size, kernel.shape[1:], stride)
  if implementation == 'lax':
    padding = [(kernel_size // 2, kernel_size // 2)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)
  multiply = SharedKernel(products_of(implementation, kernel_size, stride))
  return by_samples(x, kernel, multiply=multiply, chunks=chunks_of(implementation, implementation, x, size, kernel, own_kernels=0),
                    turn=stride == 1)


@dataclasses.dataclass(frozen=True)
class SharedKernel:
  """The convolution of images (B, H, W, C) with one kernel (k, k, C, features), as products."""

  products: Products

  def __call__(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolution_of(self.products, shared_product, x, kernel)


def chunks_of(implementation: str, gradient_implementation: str, x: jax.Array, size: tuple[int, int], kernels: jax.Array,
              own_kernels: int) -> Chunks:
  """How many samples are computed at once: as many as the cache holds where that is faster, else all.

  It is faster with patches and taps, on CPU, where they and the samples' own kernels are larger than the result, which
  chunks make a second trip through memory.

  Args:
    implementation: of the convolution.
    gradient_implementation: of the gradients of the kernels. Adding them up takes time for every chunk, so the larger the
      kernels are, the fewer chunks.
    x: (B, H, W, C).
    size: height and width of the result.
    kernels: (..., k, k, C, features).
    own_kernels: how many kernels are made for each sample, 0 where all share one.
  """
  places, rows, features = math.prod(size), math.prod(kernels.shape[-4:-1]), kernels.shape[-1]
  numbers = places * rows + own_kernels * rows * features
  at_once = {'patches': numbers, 'taps': numbers // math.prod(kernels.shape[-4:-2])}

  def chunk(implementation: str, cache: int) -> int:
    if implementation not in at_once or jax.default_backend() != 'cpu' or numbers <= places * features:
      return len(x)
    return whole_chunk(len(x), cache // (at_once[implementation] * x.dtype.itemsize))

  return Chunks(chunk(implementation, CACHE), chunk(gradient_implementation, max(CACHE, 3 * kernels.nbytes)))


def shared_product(values: jax.Array, matrix: jax.Array) -> jax.Array:
  """(B, places, values) by (values, features), as one flat product, which is faster than one for each image."""
  return (values.reshape(-1, values.shape[-1]) @ matrix).reshape(*values.shape[:2], -1)


class Conv(nn.Module):
  """A convolution without bias, for use before a batch normalisation.

  Attributes:
    features: output channels.
    kernel_size: odd.
    stride: of the convolution.
    implementation: as in `convolve`.
    dtype: of the computation; the kernel is kept in float32.
  """

  features: int
  kernel_size: int = 3
  stride: int = 1
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', features)."""
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = self.param('kernel', nn.initializers.he_normal(), shape)
    return convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.implementation)

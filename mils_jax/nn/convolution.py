"""Convolution with zero padding k // 2, with the implementation that suits the platform and the shape.

The implementations give the same result: XLA's own convolution (`lax`), one GEMM of the image's patches and the kernel
(`patches`), Winograd's sixteen smaller products (`winograd`), and, for the gradients of large kernels, one GEMM per tap
of the kernel (`taps`). lowering/choice.py chooses. All but `lax` define their own gradient, so forward-mode
differentiation (jax.jvp, jax.linearize) raises JAX's TypeError for them; use implementation='lax' there, which supports
both modes. `max_pool` defines its own gradient, too, so whole networks have reverse mode alone.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from mils_jax.nn.lowering.choice import PLATFORMS, chunks_of, faster_implementation, for_platform, platform_of
from mils_jax.nn.lowering.chunks import by_samples
from mils_jax.nn.lowering.gemm import Products, convolution_of, output_size, products_of, shared_product

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


# Compiled, so that equal layers are traced once.
@partial(jax.jit, static_argnames=('stride', 'implementation'))
def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1, implementation: str = 'auto') -> jax.Array:
  """Convolves images with a kernel.

  Example:
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import convolve
    >>> images = jnp.ones((2, 8, 8, 3))  # (B, H, W, C)
    >>> kernel = jnp.ones((3, 3, 3, 16))  # (k, k, C, features)
    >>> convolve(images, kernel, stride=2).shape
    (2, 4, 4, 16)

  Args:
    x: (B, H, W, C).
    kernel: (k, k, C, features), k odd.
    stride: stride of the convolution.
    implementation: a platform, an implementation ('winograd' for k = 3 and stride 1 only), or 'auto', as in
      lowering/choice.py.

  Returns:
    (B, H', W', features), H' = (H - 1) // stride + 1.

  Raises:
    ValueError: k is even, or the implementation is unknown or does not support the kernel.
  """
  check_kernel_size(kernel.shape[0])
  return for_platform(partial(convolve_by, stride=stride), implementation, x, kernel)


def convolve_by(x: jax.Array, kernel: jax.Array, stride: int, implementation: str) -> jax.Array:
  """Convolves images with a kernel by an implementation other than 'auto'."""
  kernel_size = kernel.shape[0]
  way = implementation
  if implementation in PLATFORMS:
    size = tuple(output_size(side, kernel_size, stride) for side in x.shape[1:3])
    way = faster_implementation(implementation, x.dtype, size, kernel.shape[1:], stride)
  if way == 'lax':
    padding = [(kernel_size // 2, kernel_size // 2)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)
  products = products_of(way, kernel_size, stride)
  chunks = chunks_of(platform_of(implementation), way, way, x, products.size(*x.shape[1:3]), kernel, own_kernels=0)
  return by_samples(x, kernel, multiply=SharedKernel(products), chunks=chunks, turn=stride == 1)


def check_kernel_size(kernel_size: int) -> None:
  """Raises ValueError for an even kernel: padding k // 2 would make the map grow."""
  if kernel_size < 1 or kernel_size % 2 == 0:
    raise ValueError(f'kernel_size={kernel_size}: must be odd')


@dataclasses.dataclass(frozen=True)
class SharedKernel:
  """The convolution of images (B, H, W, C) with one kernel (k, k, C, features), as matrix products."""

  products: Products

  def __call__(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolution_of(self.products, shared_product, x, kernel)


class Conv(nn.Module):
  """A convolution without bias, for use before a batch normalisation.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import Conv
    >>> images = jnp.ones((2, 8, 8, 3))  # (B, H, W, C)
    >>> layer = Conv(features=16, kernel_size=5, stride=2)
    >>> variables = layer.init(jax.random.key(0), images)
    >>> layer.apply(variables, images).shape
    (2, 4, 4, 16)

  Attributes:
    features: output channels.
    kernel_size: odd; padding is kernel_size // 2.
    stride: stride of the convolution.
    implementation: as in `convolve`.
    dtype: dtype of the computation; the kernel is kept in float32.

  Raises:
    ValueError: the kernel size is even.
  """

  features: int
  kernel_size: int = 3
  stride: int = 1
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_kernel_size(self.kernel_size)
    super().__post_init__()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', features)."""
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = self.param('kernel', nn.initializers.he_normal(), shape)
    return convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.implementation)

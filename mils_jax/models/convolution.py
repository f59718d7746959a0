"""Convolution with zero padding k // 2, in the form that suits the machine and the shape.

Two forms of the same function: XLA's own convolution (`lax`), and the picture's patches times the kernel as one matrix
product (`patches`). On GPU and TPU the first is the fast one; on CPU it depends on the shape (docs/performance.md).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')
LARGEST_PATCHES = 2**21  # per picture: 8 MiB in float32


def output_size(size: int, kernel_size: int, stride: int) -> int:
  """Height or width after a convolution with padding kernel_size // 2."""
  return (size + 2 * (kernel_size // 2) - kernel_size) // stride + 1


def extract_patches(x: jax.Array, kernel_size: int, stride: int) -> jax.Array:
  """The kernel_size x kernel_size neighbourhood of every output position, zero beyond the border.

  Args:
    x: (B, H, W, C).
    kernel_size: odd.
    stride: distance between neighbouring output positions.

  Returns:
    (B, H', W', kernel_size * kernel_size * C), in the order of a kernel (k, k, C, features) whose first three axes
    are flattened.
  """
  height, width = (output_size(size, kernel_size, stride) for size in x.shape[1:3])
  if kernel_size == 1:
    return x[:, ::stride, ::stride]
  padding = kernel_size // 2
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  shifted = [
      x[:, row : row + (height - 1) * stride + 1 : stride, column : column + (width - 1) * stride + 1 : stride]
      for row in range(kernel_size)
      for column in range(kernel_size)
  ]
  return jnp.concatenate(shifted, axis=-1)


def convolution_form(backend: str, patch_values: int) -> str:
  """The faster form, 'lax' or 'patches'.

  On CPU the patches' matrix product is up to fifteen times faster (1x1 and 2x2 maps, gradients with strides) and at
  worst 1.8 times slower; it stops paying where the patches of a picture outgrow the caches and the memory.

  Args:
    backend: 'cpu', 'gpu' or 'tpu'.
    patch_values: numbers in the patches of one picture (H' * W' * k * k * C).
  """
  return 'patches' if backend == 'cpu' and patch_values <= LARGEST_PATCHES else 'lax'


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1, form: str = 'auto') -> jax.Array:
  """Convolves pictures with a kernel.

  Args:
    x: (B, H, W, C).
    kernel: (k, k, C, features), k odd.
    stride: of the convolution.
    form: 'lax', 'patches', or 'auto' for the faster one.

  Returns:
    (B, H', W', features), H' = (H - 1) // stride + 1.
  """
  kernel_size, _, channels, features = kernel.shape
  height, width = (output_size(size, kernel_size, stride) for size in x.shape[1:3])
  if form == 'auto':
    form = convolution_form(jax.default_backend(), height * width * kernel_size**2 * channels)
  if form == 'lax':
    padding = [(kernel_size // 2, kernel_size // 2)] * 2
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)
  patches = extract_patches(x, kernel_size, stride).reshape(-1, kernel_size * kernel_size * channels)
  product = patches @ kernel.reshape(-1, features)  # (B * H' * W', k * k * C) @ (k * k * C, features)
  return product.reshape(x.shape[0], height, width, features)


class Conv(nn.Module):
  """A convolution without bias, for use before a batch normalisation.

  Attributes:
    features: output channels.
    kernel_size: odd.
    stride: of the convolution.
    dtype: of the computation; the kernel is kept in float32.
  """

  features: int
  kernel_size: int = 3
  stride: int = 1
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', features)."""
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = self.param('kernel', nn.initializers.he_normal(), shape)
    return convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)

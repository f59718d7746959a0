"""Dynamic convolution: K kernels mixed by attention, for any number of input channels up to a maximum.

The module is the report's DynamicConv2d, which follows "Dynamic Convolution: Attention over Convolution Kernels" (Chen
et al., CVPR 2020, https://arxiv.org/abs/1912.03458).
"""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.nn.convolution import check_kernel_size, convolve, convolve_by
from mils_jax.nn.input_channels import pad_channels
from mils_jax.nn.lowering.choice import (
  PLATFORMS,
  chunks_of,
  faster_gradient_implementation,
  faster_implementation,
  faster_mix,
  faster_mixed_implementation,
  for_platform,
  platform_of,
)
from mils_jax.nn.lowering.chunks import by_samples
from mils_jax.nn.lowering.gemm import Products, convolution_of, output_size, products_of, shared_product

MIXES = ('auto', 'outputs', 'kernels')


# Compiled, so that equal layers are traced once.
@partial(jax.jit, static_argnames=('stride', 'mix', 'implementation'))
def dynamic_convolve(x: jax.Array, kernels: jax.Array, attention: jax.Array, stride: int = 1, mix: str = 'auto',
                     implementation: str = 'auto') -> jax.Array:
  """Convolves each sample with its own mixture of kernels.

  Example:
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import dynamic_convolve
    >>> images = jnp.ones((2, 8, 8, 3))  # (B, H, W, C)
    >>> kernels = jnp.ones((4, 3, 3, 3, 16))  # (K, k, k, C, features)
    >>> attention = jnp.array([[0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]])  # (B, K)
    >>> dynamic_convolve(images, kernels, attention).shape
    (2, 8, 8, 16)

  Args:
    x: (B, H, W, C).
    kernels: (K, k, k, C, features), k odd.
    attention: (B, K), the weight of each kernel for each sample.
    stride: stride of the convolution.
    mix: what is mixed, 'outputs' or 'kernels', with the same result; 'auto' for the faster one.
    implementation: as in `convolve`.

  Returns:
    (B, H', W', features), H' = (H - 1) // stride + 1.

  Raises:
    ValueError: as in `convolve`, or the mix is unknown.
  """
  check_kernel_size(kernels.shape[1])
  if mix not in MIXES:
    raise ValueError(f"mix '{mix}' is none of {', '.join(MIXES)}")

  def by(x: jax.Array, kernels: jax.Array, attention: jax.Array, implementation: str) -> jax.Array:
    chosen = mix
    if mix == 'auto':
      positions = math.prod(output_size(side, kernels.shape[1], stride) for side in x.shape[1:3])
      chosen = faster_mix(platform_of(implementation), x.shape[0], positions)
    convolution = mix_kernels if chosen == 'kernels' else mix_outputs
    return convolution(x, kernels, attention, stride, implementation)

  return for_platform(by, implementation, x, kernels, attention)


def mix_outputs(x: jax.Array, kernels: jax.Array, attention: jax.Array, stride: int,
                implementation: str) -> jax.Array:
  """Mixes the outputs of all K kernels, which are computed as one convolution.

  Args:
    x, kernels, attention, stride: as in `dynamic_convolve`.
    implementation: as there, but not 'auto'.

  Returns:
    (B, H', W', features).
  """
  number, kernel_size, _, channels, features = kernels.shape
  size = tuple(output_size(side, kernel_size, stride) for side in x.shape[1:3])
  way = implementation
  if implementation in PLATFORMS:
    way = faster_implementation(implementation, x.dtype, size, kernels.shape[2:], stride)
  if way != 'winograd':  # K times the output channels, mixed afterwards
    side_by_side = jnp.moveaxis(kernels, 0, 3).reshape(kernel_size, kernel_size, channels, number * features)
    outputs = convolve_by(x, side_by_side, stride, way)
    outputs = outputs.reshape(*outputs.shape[:3], number, features)  # (B, H', W', K, features)
    # In float32, in which the attention's gradient is then summed over the pixels: newer GPUs add bfloat16 as such.
    weighted = outputs.astype(jnp.float32) * attention[:, None, None, :, None].astype(jnp.float32)
    return weighted.sum(axis=3).astype(outputs.dtype)
  chunks = chunks_of(platform_of(implementation), way, way, x, size, kernels, own_kernels=0)
  return by_samples(x, kernels, attention, multiply=WeightedInputs(products_of(way, kernel_size, stride)),
                    chunks=chunks, turn=stride == 1)


@dataclasses.dataclass(frozen=True)
class WeightedInputs:
  """Concatenates K copies of the input channels, weighted by the attention, so that the product sums the kernels."""

  products: Products

  def __call__(self, x: jax.Array, kernels: jax.Array, attention: jax.Array) -> jax.Array:
    """Takes and returns what `mix_outputs` does."""
    def product(values: jax.Array, matrices: jax.Array) -> jax.Array:
      weighted = values[:, :, None] * attention[:, None, :, None]  # (B, positions, K, values)
      return shared_product(weighted.reshape(*values.shape[:2], -1), matrices.reshape(-1, matrices.shape[-1]))

    return convolution_of(self.products, product, x, kernels)


def mix_kernels(x: jax.Array, kernels: jax.Array, attention: jax.Array, stride: int, implementation: str,
                gradient_way: str = 'auto') -> jax.Array:
  """Mixes the kernels of each sample first, and convolves with the mixture: the same function by linearity.

  It takes 1 / K of the multiply-adds of `mix_outputs`, plus K * k * k * C * features per sample for mixing.

  Args:
    x, kernels, attention, stride: as in `mix_outputs`.
    implementation: as there, but 'lax', which has no kernels of a sample's own, means 'patches' here.
    gradient_way: how the gradients of the kernels are computed where the stride is 1: 'patches', 'taps', 'winograd'
      (k = 3 only), or 'auto' for the fastest. With other strides it is that of the convolution.

  Returns:
    (B, H', W', features).
  """
  kernel_size = kernels.shape[1]
  size = tuple(output_size(side, kernel_size, stride) for side in x.shape[1:3])
  platform, way = platform_of(implementation), implementation
  if implementation in PLATFORMS:
    way = faster_mixed_implementation(platform, x.dtype, x.shape[0], size, kernels.shape[2:], stride)
  elif implementation == 'lax':
    way = 'patches'
  if stride != 1:
    gradient_way = way
  elif gradient_way == 'auto':
    gradient_way = faster_gradient_implementation(platform, size, kernels.shape[2:])
  multiply, for_kernels = (MixedKernels(products_of(name, kernel_size, stride)) for name in (way, gradient_way))
  return by_samples(x, kernels, attention, multiply=multiply, for_kernels=for_kernels, turn=stride == 1,
                    chunks=chunks_of(platform, way, gradient_way, x, size, kernels, own_kernels=1))


@dataclasses.dataclass(frozen=True)
class MixedKernels:
  """Multiplies the matrices of each image by the sample's own kernel, which is mixed first."""

  products: Products

  def __call__(self, x: jax.Array, kernels: jax.Array, attention: jax.Array) -> jax.Array:
    """Takes and returns what `mix_kernels` does."""
    def product(values: jax.Array, matrices: jax.Array) -> jax.Array:
      mixed = attention @ matrices.reshape(len(kernels), -1)
      return values @ mixed.reshape(-1, *matrices.shape[1:])  # by (B, values, features)

    return convolution_of(self.products, product, x, kernels)


class KernelAttention(nn.Module):
  """The weight of each of K kernels for a sample: softmax(logits / temperature) from the global average.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import KernelAttention
    >>> images = jnp.ones((2, 8, 8, 3))  # (B, H, W, C)
    >>> layer = KernelAttention(num_kernels=4, hidden=8, temperature=30.0)
    >>> even, variables = layer.init_with_output(jax.random.key(0), images)  # (B, K)
    >>> uneven = layer.apply(variables, images, temperature=1.0)  # as at the end of an annealing
    >>> uneven.shape, bool(uneven.max() > even.max())
    ((2, 4), True)

  Attributes:
    num_kernels: K.
    hidden: channels between the two bias-free 1x1 convolutions.
    temperature: above 1, it evens the weights out. The report's 30 keeps them close to uniform; the paper
      (https://arxiv.org/abs/1912.03458) anneals it from 30 to 1 over the first epochs.
    dtype: dtype of the computation.
  """

  num_kernels: int
  hidden: int
  temperature: float
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, present: jax.Array | None = None,
               temperature: jax.Array | float | None = None) -> jax.Array:
    """(B, H, W, C) -> (B, K), each row summing to 1, in float32; `present`, `temperature` as in DynamicConv."""
    # On the 1x1 map of averages (B, C), a dense layer is a 1x1 convolution.
    average = x.mean(axis=(1, 2), dtype=jnp.float32).astype(self.dtype)
    if present is not None:
      average = jnp.concatenate([average, present.astype(self.dtype)], axis=-1)  # (B, 2 C)
    squeezed = nn.relu(nn.Dense(self.hidden, use_bias=False, dtype=self.dtype, name='squeeze')(average))
    logits = nn.Dense(self.num_kernels, use_bias=False, dtype=self.dtype, name='expand')(squeezed)
    return nn.softmax(logits.astype(jnp.float32) / (self.temperature if temperature is None else temperature))


class DynamicConv(nn.Module):
  """A convolution with a kernel that is mixed for every sample from K kernels (report, section I.B; no bias).

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import DynamicConv
    >>> images = jnp.ones((2, 8, 8, 4))  # (B, H, W, C): four of up to 13 channels; the other nine count as zero
    >>> layer = DynamicConv(features=16, in_channels=13, num_kernels=4, temperature=30.0)
    >>> variables = layer.init(jax.random.key(0), images)
    >>> layer.apply(variables, images).shape
    (2, 8, 8, 16)
    >>> layer.apply(variables, images, temperature=1.0).shape  # the attention sharper, by the same variables
    (2, 8, 8, 16)

  Attributes:
    features: output channels.
    in_channels: input channels; an image with fewer gets zero channels at the end.
    kernel_size: odd; padding is kernel_size // 2.
    stride: stride of the convolution.
    num_kernels: K; a single kernel has no attention.
    temperature: temperature of the attention's softmax.
    mix, implementation: as in `dynamic_convolve`.
    dtype: dtype of the computation; parameters are kept in float32.

  Raises:
    ValueError: the kernel size is even.
  """

  features: int
  in_channels: int
  kernel_size: int = 3
  stride: int = 1
  num_kernels: int = 4
  temperature: float = 30.0
  mix: str = 'auto'
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32

  def __post_init__(self):
    check_kernel_size(self.kernel_size)
    super().__post_init__()

  @nn.compact
  def __call__(self, x: jax.Array, present: jax.Array | None = None,
               temperature: jax.Array | float | None = None) -> jax.Array:
    """Convolves images.

    Args:
      x: (B, H, W, C <= in_channels).
      present: (B, in_channels) bool, which channels are present, as an input of the attention; None: no such input.
      temperature: replaces the module's own temperature while a schedule changes it.

    Returns:
      (B, H', W', features), H' = (H - 1) // stride + 1.

    Raises:
      ValueError: there are more than in_channels channels, num_kernels or temperature is not positive, or as
        `dynamic_convolve`.
    """
    if self.num_kernels < 1 or self.temperature <= 0:
      raise ValueError(f'num_kernels={self.num_kernels}, temperature={self.temperature}: both must be positive')
    x = pad_channels(x, self.in_channels).astype(self.dtype)
    initialise = nn.initializers.variance_scaling(2.0, 'fan_in', 'truncated_normal', batch_axis=(0,))
    shape = (self.num_kernels, self.kernel_size, self.kernel_size, self.in_channels, self.features)
    kernels = self.param('kernels', initialise, shape).astype(self.dtype)
    if self.num_kernels == 1:
      return convolve(x, kernels[0], self.stride, self.implementation)
    hidden = max(self.in_channels // 4, 1)
    attention = KernelAttention(self.num_kernels, hidden, self.temperature, self.dtype, name='attention')(
        x, present, temperature)
    return dynamic_convolve(x, kernels, attention.astype(self.dtype), self.stride, self.mix, self.implementation)

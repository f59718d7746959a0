"""Dynamic convolution: K kernels mixed by attention, for any number of input channels up to a maximum.

The module is the report's DynamicConv2d, which follows "Dynamic Convolution: Attention over Convolution Kernels" (Chen
et al., CVPR 2020).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.nn.convolution import chunks_of, convolve, faster_implementation, products_of, shared_product
from mils_jax.nn.input_channels import pad_channels
from mils_jax.nn.lowering.chunks import by_samples
from mils_jax.nn.lowering.gemm import Products, convolution_of, output_size

MIXES = ('auto', 'outputs', 'kernels')


def faster_mix(backend: str, batch: int, positions: int) -> str:
  """The faster mix for `batch` maps of `positions` (H' * W') outputs.

  Mixing the kernels first costs, per sample, the writing and reading of one whole kernel, and saves (K - 1) / K of the
  convolution. Only a wide map uses its kernel often enough to earn that back; but where there are few samples, reading
  the kernels is what takes the time, and the parallel implementation reads them too (docs/performance.md has the figures). GPU
  and TPU run the K convolutions as one.
  """
  return 'kernels' if backend == 'cpu' and (positions >= 16 or batch <= 4) else 'outputs'


def faster_mixed_implementation(backend: str, batch: int, size: tuple[int, int], kernel: tuple[int, int, int],
                      stride: int) -> str:
  """The implementation for kernels that each sample has for itself: 'patches' or 'winograd'.

  Winograd's kernels are 16 / 9 times as large. While a sample's fits the second-level cache that costs little.

  Args:
    backend, size, kernel, stride: as in `faster_implementation`.
    batch: number of samples.
  """
  _, channels, features = kernel
  small = batch > 4 and channels * features <= 64 * 64
  return 'winograd' if small and faster_implementation(backend, size, kernel, stride) == 'winograd' else 'patches'


def faster_gradient_implementation(backend: str, size: tuple[int, int], kernel: tuple[int, int, int]) -> str:
  """The implementation for the gradients of kernels that each sample has for itself, with stride 1: 'patches' or 'taps'.

  The gradient of a sample's kernel goes into that of all K kernels and into that of the attention. Where it is larger
  than the sample's patches, it is best used up, a place of the kernel after the other, while the cache has it; but on
  a map of few places the products for a single one are too small to be fast. Winograd's, 16 / 9 times as large, are no
  faster for their fewer multiply-adds, and take more memory.

  Args:
    backend, size, kernel: as in `faster_implementation`.
  """
  kernel_size, _, features = kernel
  by_taps = backend == 'cpu' and kernel_size > 1 and 32 <= math.prod(size) <= features
  return 'taps' if by_taps else 'patches'


def parallel_convolutions(x: jax.Array, kernels: jax.Array, attention: jax.Array, stride: int,
                          implementation: str = 'auto') -> jax.Array:
  """All K kernels' outputs, mixed; computed as one convolution.

  Args:
    x: (B, H, W, C).
    kernels: (K, k, k, C, features).
    attention: (B, K), the weight of each kernel for each sample.
    stride: of the convolution.
    implementation: as in `convolve`.

  Returns:
    (B, H', W', features).
  """
  number, kernel_size, _, channels, features = kernels.shape
  size = tuple(output_size(side, kernel_size, stride) for side in x.shape[1:3])
  if implementation == 'auto':
    implementation = faster_implementation(jax.default_backend(), size, kernels.shape[2:], stride)
  if implementation != 'winograd':  # K times the output channels, weighted afterwards
    side_by_side = jnp.moveaxis(kernels, 0, 3).reshape(kernel_size, kernel_size, channels, number * features)
    outputs = convolve(x, side_by_side, stride, implementation)
    outputs = outputs.reshape(*outputs.shape[:3], number, features)  # (B, H', W', K, features)
    return (outputs * attention[:, None, None, :, None]).sum(axis=3)
  multiply = WeightedInputs(products_of(implementation, kernel_size, stride))
  return by_samples(x, kernels, attention, multiply=multiply, turn=stride == 1,
                    chunks=chunks_of(implementation, implementation, x, size, kernels, own_kernels=0))


@dataclasses.dataclass(frozen=True)
class WeightedInputs:
  """K times the input channels, weighted for each kernel: the products then add the kernels' outputs up."""

  products: Products

  def __call__(self, x: jax.Array, kernels: jax.Array, attention: jax.Array) -> jax.Array:
    """Arguments and result as in `parallel_convolutions`."""
    def product(values: jax.Array, matrices: jax.Array) -> jax.Array:
      weighted = values[:, :, None] * attention[:, None, :, None]  # (B, places, K, values)
      return shared_product(weighted.reshape(*values.shape[:2], -1), matrices.reshape(-1, matrices.shape[-1]))

    return convolution_of(self.products, product, x, kernels)


def mixed_kernels(x: jax.Array, kernels: jax.Array, attention: jax.Array, stride: int, implementation: str = 'auto',
                  gradient_implementation: str = 'auto') -> jax.Array:
  """Each sample's own mixture of the kernels, applied to its places; the same function by linearity.

  Takes 1 / K of the multiply-adds of `parallel_convolutions`, plus K * k * k * C * features per sample for the mixing.

  Args:
    x, kernels, attention, stride: as there.
    implementation: as there; 'lax', which has no kernels of a sample's own, is 'patches' here.
    gradient_implementation: of the gradients of the kernels where the stride is 1: 'patches', 'taps', 'winograd' (k = 3 only), or
      'auto' for the fastest one. With other strides it is `implementation`.

  Returns:
    (B, H', W', features).
  """
  kernel_size = kernels.shape[1]
  size = tuple(output_size(side, kernel_size, stride) for side in x.shape[1:3])
  if implementation == 'auto':
    implementation = faster_mixed_implementation(jax.default_backend(), x.shape[0], size, kernels.shape[2:], stride)
  elif implementation == 'lax':
    implementation = 'patches'
  if stride != 1:
    gradient_implementation = implementation
  elif gradient_implementation == 'auto':
    gradient_implementation = faster_gradient_implementation(jax.default_backend(), size, kernels.shape[2:])
  multiply, for_kernels = (MixedKernels(products_of(name, kernel_size, stride)) for name in (implementation, gradient_implementation))
  return by_samples(x, kernels, attention, multiply=multiply, for_kernels=for_kernels, turn=stride == 1,
                    chunks=chunks_of(implementation, gradient_implementation, x, size, kernels, own_kernels=1))


@dataclasses.dataclass(frozen=True)
class MixedKernels:
  """Each sample's own kernel, mixed first, times its image's matrices."""

  products: Products

  def __call__(self, x: jax.Array, kernels: jax.Array, attention: jax.Array) -> jax.Array:
    """Arguments and result as in `mixed_kernels`."""
    def product(values: jax.Array, matrices: jax.Array) -> jax.Array:
      mixed = attention @ matrices.reshape(len(kernels), -1)
      return values @ mixed.reshape(-1, *matrices.shape[1:])  # by (B, values, features)

    return convolution_of(self.products, product, x, kernels)


class KernelAttention(nn.Module):
  """How much each of K kernels counts for a sample: softmax(logits / temperature) from the global average.

  Attributes:
    kernels: K.
    hidden: channels between the two bias-free 1x1 convolutions.
    temperature: above 1 it evens the weights out. The report's 30 keeps them close to uniform; the paper anneals it
      from 30 to 1 over the first epochs.
    dtype: of the computation.
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
  """A convolution whose kernel is mixed for every sample from K kernels (report, section I.B; no bias).

      layer = DynamicConv(features=64, in_channels=13)
      variables = layer.init(key, jnp.zeros((1, 32, 32, 13)))
      layer.apply(variables, images_with_four_channels)  # channels 5 to 13 count as zero

  Attributes:
    features: output channels.
    in_channels: input channels; an image with fewer gets zero channels at the end.
    kernel_size: odd; padding is kernel_size // 2.
    stride: of the convolution.
    kernels: K; a single one needs no attention and has none.
    temperature: of the attention's softmax.
    mix: 'outputs' or 'kernels', two ways to the same result, or 'auto' for the faster one.
    implementation: of the convolutions, as in `convolve`.
    dtype: of the computation; parameters are kept in float32.
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

  @nn.compact
  def __call__(self, x: jax.Array, present: jax.Array | None = None,
               temperature: jax.Array | float | None = None) -> jax.Array:
    """Convolves images.

    Args:
      x: (B, H, W, C <= in_channels).
      present: (B, in_channels) bool, which channels are there, for the attention to see; None: it does not.
      temperature: instead of the module's own, while it changes in training.

    Returns:
      (B, H', W', features), H' = (H - 1) // stride + 1.

    Raises:
      ValueError: more than in_channels channels, an unknown mix, or no positive kernels and temperature.
    """
    if self.mix not in MIXES:
      raise ValueError(f"mix '{self.mix}' is none of {', '.join(MIXES)}")
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
    mix = self.mix
    if mix == 'auto':
      height, width = (output_size(size, self.kernel_size, self.stride) for size in x.shape[1:3])
      mix = faster_mix(jax.default_backend(), x.shape[0], height * width)
    convolution = mixed_kernels if mix == 'kernels' else parallel_convolutions
    return convolution(x, kernels, attention.astype(self.dtype), self.stride, self.implementation)

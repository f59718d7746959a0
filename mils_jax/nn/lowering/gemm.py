"""A convolution as matrix products: what to multiply, and how the products form its result.

A convolution with zero padding k // 2 is, for each of T terms, a matrix of the image (positions by values) times a
matrix of the kernel (values by features); the products are then combined. The classes here have the same methods, the
first three linear in their first argument:

    inputs(x (B, H, W, C))                    -> T arrays (B, positions, values)
    kernels(kernel (..., k, k, C, features), height and width of x) -> T arrays (..., values, features)
    outputs(T arrays (B, positions, features), size) -> (B, *size, features)
    size(height, width of x)                  -> height and width of the result
"""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax


def convolution_of(products: 'Products', product: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array,
                   kernels: jax.Array) -> jax.Array:
  """The convolution whose terms `product` multiplies.

  Args:
    products: its terms.
    product: (values (B, positions, values), kernel matrices (..., values, features)) -> (B, positions, features).
    x: (B, H, W, C).
    kernels: (..., k, k, C, features).

  Returns:
    (B, H', W', features).
  """
  terms = zip(products.inputs(x), products.kernels(kernels, (x.shape[1], x.shape[2])), strict=True)
  return products.outputs([product(values, matrices) for values, matrices in terms], products.size(*x.shape[1:3]))


def output_size(size: int, kernel_size: int, stride: int) -> int:
  """Height or width after a convolution with padding kernel_size // 2."""
  return (size + 2 * (kernel_size // 2) - kernel_size) // stride + 1


def positions_in_use(size: int, kernel_size: int, stride: int) -> range:
  """The rows (columns) of a kernel that overlap any row (column) of a map of this height (width), not just padding."""
  padding = kernel_size // 2
  last = stride * (output_size(size, kernel_size, stride) - 1)
  return range(max(padding - last, 0), min(padding + size, kernel_size))


@dataclasses.dataclass(frozen=True)
class Patches:
  """One term: the k x k patch of every output position times the kernel, without taps that overlap only padding.

  Attributes:
    kernel_size: k, odd.
    stride: distance between neighbouring output positions.
  """

  kernel_size: int
  stride: int

  def inputs(self, x: jax.Array) -> tuple[jax.Array]:
    """(B, H' * W', values), in the order of a kernel whose first three axes are flattened."""
    height, width = self.size(*x.shape[1:3])
    shifted = _shifted(x, self.kernel_size, self.stride, (height, width))
    return (jnp.concatenate(shifted, axis=-1).reshape(x.shape[0], height * width, -1),)

  def kernels(self, kernel: jax.Array, size: tuple[int, int]) -> tuple[jax.Array]:
    kernel = _in_use(kernel, size, self.stride)
    return (kernel.reshape(*kernel.shape[:-4], -1, kernel.shape[-1]),)

  def outputs(self, products: Sequence[jax.Array], size: tuple[int, int]) -> jax.Array:
    return products[0].reshape(products[0].shape[0], *size, -1)

  def size(self, height: int, width: int) -> tuple[int, int]:
    return output_size(height, self.kernel_size, self.stride), output_size(width, self.kernel_size, self.stride)


@dataclasses.dataclass(frozen=True)
class Taps:
  """Up to k x k terms of a convolution of stride 1: for each tap of the kernel, all the values that it overlaps.

  Attributes:
    kernel_size: k, odd.
  """

  kernel_size: int

  def inputs(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """An array (B, H * W, C) for each tap that overlaps more than padding."""
    return tuple(values.reshape(x.shape[0], -1, x.shape[-1])
                 for values in _shifted(x, self.kernel_size, 1, self.size(*x.shape[1:3])))

  def kernels(self, kernel: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, ...]:
    kernel = _in_use(kernel, size, 1)
    return tuple(tap for row in _split(kernel, kernel.ndim - 4) for tap in _split(row, row.ndim - 3))

  def outputs(self, products: Sequence[jax.Array], size: tuple[int, int]) -> jax.Array:
    return reduce(operator.add, products).reshape(products[0].shape[0], *size, -1)

  def size(self, height: int, width: int) -> tuple[int, int]:
    return height, width


@dataclasses.dataclass(frozen=True)
class Winograd:
  """Sixteen terms for a 3x3 convolution of stride 1, with 4 multiply-adds where the patches take 9.

  F(2x2, 3x3) of "Fast Algorithms for Convolutional Neural Networks" (Lavin & Gray, CVPR 2016,
  https://arxiv.org/abs/1509.09308, section 4.1): each tile of 2x2 outputs is computed from its 4x4 inputs. The
  transforms only add, subtract and halve, so float32 stays about as exact as it is with the direct sum.
  """

  def inputs(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """16 arrays (B, tiles, C), tiles = ceil(H / 2) * ceil(W / 2)."""
    batch, height, width, channels = x.shape
    down, across = _tiles(height), _tiles(width)
    x = jnp.pad(x, ((0, 0), (1, 2 * down + 1 - height), (1, 2 * across + 1 - width), (0, 0)))
    rows = _inputs_of_line(*(x[:, row : row + 2 * down - 1 : 2] for row in range(4)))
    terms = [term for row in rows
             for term in _inputs_of_line(*(row[:, :, column : column + 2 * across - 1 : 2] for column in range(4)))]
    return tuple(term.reshape(batch, down * across, channels) for term in terms)

  def kernels(self, kernel: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, ...]:
    rows = _kernels_of_line(*_split(kernel, kernel.ndim - 4))
    return tuple(term for row in rows for term in _kernels_of_line(*_split(row, row.ndim - 3)))

  def outputs(self, products: Sequence[jax.Array], size: tuple[int, int]) -> jax.Array:
    height, width = size
    down, across = _tiles(height), _tiles(width)
    batch, _, features = products[0].shape
    products = [product.reshape(batch, down, across, features) for product in products]
    columns = [_outputs_of_line(*products[column::4]) for column in range(4)]  # [column of the tile][row of the result]
    lines = [jnp.stack(_outputs_of_line(*(column[row] for column in columns)), axis=3) for row in range(2)]
    result = jnp.stack(lines, axis=2).reshape(batch, 2 * down, 2 * across, features)
    return result[:, :height, :width]

  def size(self, height: int, width: int) -> tuple[int, int]:
    return height, width


Products = Patches | Taps | Winograd


def products_of(way: str, kernel_size: int, stride: int) -> Products:
  """The matrix products of an implementation; raises ValueError where it has none or does not support the kernel."""
  if way == 'winograd':
    if (kernel_size, stride) != (3, 1):
      raise ValueError(f"implementation 'winograd' is for kernel size 3 and stride 1, not {kernel_size} and {stride}")
    return Winograd()
  if way == 'taps':
    if stride != 1:
      raise ValueError(f"implementation 'taps' is for stride 1, not {stride}")
    return Taps(kernel_size)
  if way == 'patches':
    return Patches(kernel_size, stride)
  raise ValueError(f"implementation '{way}' is none of auto, cpu, gpu, tpu, lax, patches, taps, winograd")


def shared_product(values: jax.Array, matrix: jax.Array) -> jax.Array:
  """(B, positions, values) times (values, features), as one flat product, which is faster than one per image."""
  return (values.reshape(-1, values.shape[-1]) @ matrix).reshape(*values.shape[:2], -1)


def _tiles(size: int) -> int:
  return (size + 1) // 2


# The transforms of one line of a tile: the paper's B^T, G and A^T.


def _inputs_of_line(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> tuple[jax.Array, ...]:
  return a - c, b + c, c - b, b - d


def _kernels_of_line(a: jax.Array, b: jax.Array, c: jax.Array) -> tuple[jax.Array, ...]:
  return a, (a + b + c) / 2, (a - b + c) / 2, c


def _outputs_of_line(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> tuple[jax.Array, ...]:
  return a + b + c, b - c - d


def _split(x: jax.Array, axis: int) -> list[jax.Array]:
  """Splits `x` along an axis; the gradient stacks the parts', where that of slices would sum padded arrays."""
  return [part.squeeze(axis) for part in lax.split(x, (1,) * x.shape[axis], axis)]


def _in_use(kernel: jax.Array, size: tuple[int, int], stride: int) -> jax.Array:
  """The part of a kernel (..., k, k, C, features) that overlaps more than the padding of a map of this size."""
  rows, columns = (positions_in_use(side, kernel.shape[-4], stride) for side in size)
  return kernel[..., rows.start : rows.stop, columns.start : columns.stop, :, :]


def _shifted(x: jax.Array, kernel_size: int, stride: int, size: tuple[int, int]) -> list[jax.Array]:
  """For each tap of the kernel that is in use, row by row, the values that it overlaps: (B, *size, C)."""
  height, width = size
  rows, columns = (positions_in_use(side, kernel_size, stride) for side in x.shape[1:3])
  padding = kernel_size // 2
  if padding:
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  return [x[:, row : row + (height - 1) * stride + 1 : stride, column : column + (width - 1) * stride + 1 : stride]
          for row in rows for column in columns]

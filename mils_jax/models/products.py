"""A convolution as matrix products: what to multiply, and how the products become its result.

A convolution with zero padding k // 2 is, for each of T terms, a matrix of the picture (places by values) times a
matrix of the kernel (values by features); the products are then put together. Both classes here have the same three
methods, each linear in its argument:

    inputs(x (B, H, W, C))                    -> T arrays (B, places, values)
    kernels(kernel (..., k, k, C, features))  -> T arrays (..., values, features)
    outputs(T arrays (B, places, features), height, width of the result) -> (B, height, width, features)
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax


def output_size(size: int, kernel_size: int, stride: int) -> int:
  """Height or width after a convolution with padding kernel_size // 2."""
  return (size + 2 * (kernel_size // 2) - kernel_size) // stride + 1


@dataclasses.dataclass(frozen=True)
class Patches:
  """One term: the k x k neighbourhood of every output position times the kernel.

  Attributes:
    kernel_size: k, odd.
    stride: distance between neighbouring output positions.
  """

  kernel_size: int
  stride: int

  def inputs(self, x: jax.Array) -> tuple[jax.Array]:
    """(B, H' * W', k * k * C), in the order of a kernel whose first three axes are flattened."""
    size, stride = self.kernel_size, self.stride
    height, width = (output_size(side, size, stride) for side in x.shape[1:3])
    if size > 1:
      padding = size // 2
      x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    shifted = [
        x[:, row : row + (height - 1) * stride + 1 : stride, column : column + (width - 1) * stride + 1 : stride]
        for row in range(size)
        for column in range(size)
    ]
    return (jnp.concatenate(shifted, axis=-1).reshape(x.shape[0], height * width, -1),)

  def kernels(self, kernel: jax.Array) -> tuple[jax.Array]:
    return (kernel.reshape(*kernel.shape[:-4], -1, kernel.shape[-1]),)

  def outputs(self, products: Sequence[jax.Array], height: int, width: int) -> jax.Array:
    return products[0].reshape(products[0].shape[0], height, width, -1)


class Winograd:
  """Sixteen terms for a 3x3 convolution of stride 1, with 4 multiply-adds where the patches take 9.

  F(2x2, 3x3) of "Fast Algorithms for Convolutional Neural Networks" (Lavin & Gray, CVPR 2016, section 4.1): each tile
  of 2x2 outputs is computed from its 4x4 inputs. The transforms only add, subtract and halve, so float32 stays about
  as exact as it is with the direct sum.
  """

  def inputs(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """16 arrays (B, tiles, C), tiles = ceil(H / 2) * ceil(W / 2)."""
    return _input_tiles(x)

  def kernels(self, kernel: jax.Array) -> tuple[jax.Array, ...]:
    return _two_axes(_transform_kernel, kernel, kernel.ndim - 4)

  def outputs(self, products: Sequence[jax.Array], height: int, width: int) -> jax.Array:
    down, across = _tiles(height), _tiles(width)
    batch, _, features = products[0].shape
    products = [product.reshape(batch, down, across, features) for product in products]
    rows = [_transform_products(products[row::4]) for row in range(4)]  # [column of the tile][row of the result]
    lines = [jnp.stack(_transform_products([column[row] for column in rows]), axis=3) for row in range(2)]
    result = jnp.stack(lines, axis=2).reshape(batch, 2 * down, 2 * across, features)
    return result[:, :height, :width]


def _tiles(size: int) -> int:
  return (size + 1) // 2


def _transform_input(d: Sequence[jax.Array]) -> list[jax.Array]:
  return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _transform_input_transposed(e: Sequence[jax.Array]) -> list[jax.Array]:
  return [e[0], e[1] - e[2] + e[3], e[1] + e[2] - e[0], -e[3]]


def _transform_kernel(g: Sequence[jax.Array]) -> list[jax.Array]:
  return [g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]]


def _transform_products(m: Sequence[jax.Array]) -> list[jax.Array]:
  return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _two_axes(transform, kernel: jax.Array, axis: int) -> tuple[jax.Array, ...]:
  """`transform` along `axis` and the next one, both of which the results lack; rows first."""
  rows = transform([lax.index_in_dim(kernel, place, axis, keepdims=False) for place in range(kernel.shape[axis])])
  return tuple(value for row in rows for value in transform(
      [lax.index_in_dim(row, place, axis, keepdims=False) for place in range(row.shape[axis])]))


@jax.custom_vjp
def _input_tiles(x: jax.Array) -> tuple[jax.Array, ...]:
  batch, height, width, channels = x.shape
  down, across = _tiles(height), _tiles(width)
  x = jnp.pad(x, ((0, 0), (1, 2 * down + 1 - height), (1, 2 * across + 1 - width), (0, 0)))
  rows = _transform_input([x[:, row : row + 2 * down - 1 : 2] for row in range(4)])
  tiles = [value for row in rows for value in _transform_input(
      [row[:, :, column : column + 2 * across - 1 : 2] for column in range(4)])]
  return tuple(tile.reshape(batch, down * across, channels) for tile in tiles)


def _input_tiles_forward(x: jax.Array) -> tuple[tuple[jax.Array, ...], tuple[int, int]]:
  return _input_tiles(x), x.shape[1:3]


def _input_tiles_backward(size: tuple[int, int], gradients: tuple[jax.Array, ...]) -> tuple[jax.Array]:
  """The transforms transposed, and the overlapping tiles added; XLA's own way there pads sixteen whole maps."""
  height, width = size
  down, across = _tiles(height), _tiles(width)
  batch, _, channels = gradients[0].shape
  gradients = [gradient.reshape(batch, down, across, channels) for gradient in gradients]
  lines = [_overlap(_transform_input_transposed(gradients[4 * row : 4 * row + 4]), 2) for row in range(4)]
  return (_overlap(_transform_input_transposed(lines), 1)[:, :height, :width],)


def _overlap(parts: Sequence[jax.Array], axis: int) -> jax.Array:
  """Adds tiles of four along `axis` that overlap by two and begin at -1: its length doubles.

  Args:
    parts: the first to fourth value of every tile.
    axis: of the tiles.
  """
  number = parts[0].shape[axis]
  before, after = (jnp.pad(part, [(0, 0)] * axis + [width] + [(0, 0)] * (part.ndim - axis - 1))
                   for part, width in ((parts[3], (1, 0)), (parts[0], (0, 1))))
  even = parts[1] + lax.slice_in_dim(before, 0, number, axis=axis)
  odd = parts[2] + lax.slice_in_dim(after, 1, number + 1, axis=axis)
  whole = jnp.stack([even, odd], axis + 1)
  return whole.reshape(*whole.shape[:axis], 2 * number, *whole.shape[axis + 2:])


_input_tiles.defvjp(_input_tiles_forward, _input_tiles_backward)

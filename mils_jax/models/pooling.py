"""Max pooling as a maximum of shifted slices, whose gradient needs no select-and-scatter (slow on CPU)."""

from functools import reduce

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
  """The largest value of each window.

  Args:
    x: (B, H, W, C).
    window: its side.
    stride: distance between windows.
    padding: rows and columns of minus infinity around the map.

  Returns:
    (B, H', W', C), H' = (H + 2 * padding - window) // stride + 1.
  """
  height, width = ((size + 2 * padding - window) // stride + 1 for size in x.shape[1:3])
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=-jnp.inf)
  return reduce(jnp.maximum, (
      x[:, row : row + (height - 1) * stride + 1 : stride, column : column + (width - 1) * stride + 1 : stride]
      for row in range(window)
      for column in range(window)))

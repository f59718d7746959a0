"""DropBlock: dropout of whole squares of a feature map."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class DropBlock(nn.Module):
  """Clears random squares of every channel in training and scales up the rest.

  From "DropBlock: A regularization method for convolutional networks" (Ghiasi et al., NeurIPS 2018,
  https://arxiv.org/abs/1810.12890). Draws from the 'dropout' stream.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import DropBlock
    >>> x = jnp.ones((2, 8, 8, 16))  # (B, H, W, C)
    >>> layer = DropBlock(rate=0.2, block_size=3)  # without parameters, so there is nothing to initialise
    >>> y = layer.apply({}, x, train=True, rngs={'dropout': jax.random.key(0)})
    >>> y.shape, bool((y == 0).any()), bool(y.max() > 1)
    ((2, 8, 8, 16), True, True)

  Attributes:
    rate: expected share of cleared values (before squares overlap).
    block_size: side of the squares, limited to the map's side.
  """

  rate: float
  block_size: int = 5

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """(B, H, W, C) -> (B, H, W, C)."""
    if self.block_size < 1:
      raise ValueError(f'block_size={self.block_size}: must be positive')
    if not train or self.rate == 0.0:
      return x
    height, width = x.shape[1:3]
    block = min(self.block_size, height, width)
    # Squares lie fully inside the map, so their top left corners have this many positions (section 3.1, gamma).
    places = (height - block + 1) * (width - block + 1)
    probability = self.rate * height * width / (block * block * places)
    corners_shape = (x.shape[0], height - block + 1, width - block + 1, x.shape[3])
    corners = jax.random.bernoulli(self.make_rng('dropout'), min(probability, 1.0), corners_shape)
    reach = block - 1
    padded = jnp.pad(corners.astype(x.dtype), ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    dropped = nn.max_pool(padded, (block, block))  # (B, H, W, C): 1 where any square covers the position
    kept = 1 - dropped
    return x * kept * (kept.size / jnp.maximum(kept.sum(dtype=jnp.float32), 1.0)).astype(x.dtype)

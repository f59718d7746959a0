"""Squeeze-and-excitation: scales the channels of a feature map by gates computed from the whole map."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class SqueezeExcite(nn.Module):
  """Scales each channel by a gate in (0, 1) computed from all channels' global averages.

  From "Squeeze-and-Excitation Networks" (Hu et al., CVPR 2018, https://arxiv.org/abs/1709.01507); the report's SEBlock.
  The report suggests 1x1 convolutions in place of its fully connected layers: on the 1x1 map of averages they are the
  same function with the same parameters, so there is one implementation.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import SqueezeExcite
    >>> x = jnp.ones((2, 8, 8, 32))  # (B, H, W, C)
    >>> layer = SqueezeExcite(reduction=8)
    >>> y, variables = layer.init_with_output(jax.random.key(0), x)
    >>> y.shape, variables['params']['squeeze']['kernel'].shape
    ((2, 8, 8, 32), (32, 4))

  Attributes:
    reduction: there are channels // reduction units between the two layers.
    dtype: dtype of the computation.
  """

  reduction: int = 16
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, H, W, C)."""
    channels = x.shape[-1]
    average = x.mean(axis=(1, 2), dtype=jnp.float32)  # (B, C)
    squeezed = nn.relu(nn.Dense(max(channels // self.reduction, 1), dtype=self.dtype, name='squeeze')(average))
    gate = nn.sigmoid(nn.Dense(channels, dtype=self.dtype, name='excite')(squeezed))
    return (x.astype(jnp.float32) * gate[:, None, None, :].astype(jnp.float32)).astype(x.dtype)  # as in `normalise`

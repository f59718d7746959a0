"""Batch normalisation over the true examples of a batch on all devices.

flax.linen.BatchNorm averages the devices' means with equal weights, but in a padded last batch the devices have
different numbers of true examples. Here the sums are taken over all devices first, so a padded batch on several devices
has exactly the statistics of the short batch on one.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from mils_jax.distributed.devices import sum_over_devices


class BatchNorm(nn.Module):
  """Normalises each channel to the batch's mean 0 and variance 1, then scales and shifts it.

  "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift" (Ioffe & Szegedy, ICML
  2015, https://arxiv.org/abs/1502.03167).

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.nn import BatchNorm
    >>> x = jnp.full((3, 8, 8, 2), 10.0).at[2].set(99.0)  # (B, H, W, C)
    >>> variables = BatchNorm().init(jax.random.key(0), x, train=False)
    >>> mask = jnp.array([1.0, 1.0, 0.0])  # the third image only fills the batch up
    >>> y, updates = BatchNorm().apply(variables, x, train=True, mask=mask, mutable=['batch_stats'])  # (B, H, W, C)
    >>> print(updates['batch_stats']['mean'].round(3))  # a tenth of the way from 0 to 10
    [1. 1.]

  Attributes:
    momentum: share of the running statistics that a training step keeps (PyTorch's momentum 0.1 is 0.9 here).
    epsilon: added to the variance.
    axis_name: name of the mapped axis whose devices share the batch; None: one device.
  """

  momentum: float = 0.9
  epsilon: float = 1e-5
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None,
               pool: Callable[[jax.Array], jax.Array] | None = None) -> jax.Array:
    """Normalises by the batch (train) or by the running statistics.

    Args:
      x: (B, H, W, C).
      train: whether to use and record the batch's own statistics.
      mask: (B,) 0 for padding, else 1; None: every example counts. Used in training only.
      pool: a max pooling that follows. The maximum of normalised values is the normalised maximum, or minimum where the
        scale is negative, so only these are normalised, in the forward pass and in the gradient: a step of
        DynamicResNet12 at 84x84, batch 32, takes 416 ms without that and 402 with it (two cores with AVX-512, jax
        0.10.2: docs/performance.md).
    """
    channels = x.shape[-1]
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, channels)
    running_variance = self.variable('batch_stats', 'var', jnp.ones, channels)
    scale = self.param('scale', nn.initializers.ones, (channels,))
    bias = self.param('bias', nn.initializers.zeros, (channels,))
    if train:
      mask = jnp.ones(x.shape[0]) if mask is None else mask
      axis_name = None if self.is_initializing() else self.axis_name
      mean, variance = batch_statistics(x, mask, axis_name)
      if not self.is_initializing():
        running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
        running_variance.value = self.momentum * running_variance.value + (1 - self.momentum) * variance
    else:
      mean, variance = running_mean.value, running_variance.value
    if pool is not None:
      direction = jnp.where(scale < 0, -1, 1).astype(x.dtype)[None, None, None]
      x = direction * pool(direction * x)
    return normalise(x, mean, variance, scale, bias, self.epsilon)


# Compiled functions, so that a network's equal layers are traced once.


@partial(jax.jit, static_argnames='axis_name')
def batch_statistics(x: jax.Array, mask: jax.Array, axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
  """Mean and (biased) variance of each channel, in float32.

  Args:
    x: (B, H, W, C).
    mask: (B,) 0 for padding, else 1.
    axis_name: as in BatchNorm.

  Returns:
    Mean and variance, (C,) each.
  """
  values = x.astype(jnp.float32)
  sums = (mask[:, None] * values.mean(axis=(1, 2))).sum(axis=0)  # per sample first, to keep sums small and exact
  squares = (mask[:, None] * jnp.square(values).mean(axis=(1, 2))).sum(axis=0)
  totals = (sums, squares, mask.sum())
  if axis_name is not None:
    totals = sum_over_devices(totals, axis_name)
  count = jnp.maximum(totals[2], 1)  # a batch of nothing but padding has finite statistics too
  mean, mean_square = totals[0] / count, totals[1] / count
  return mean, jnp.maximum(mean_square - jnp.square(mean), 0.0)


@jax.jit
def normalise(x: jax.Array, mean: jax.Array, variance: jax.Array, scale: jax.Array, bias: jax.Array,
              epsilon: float) -> jax.Array:
  """Normalises (B, H, W, C) so that each channel has the mean `bias` and the standard deviation `scale`, (C,) each.

  In float32, so that the gradients of `scale` and `bias` are summed over the pixels in float32 too: newer GPUs add
  bfloat16 as such.
  """
  factor = scale * lax.rsqrt(variance + epsilon)
  factor, offset = (values[None, None, None] for values in (factor, bias - mean * factor))
  return (x.astype(jnp.float32) * factor + offset).astype(x.dtype)

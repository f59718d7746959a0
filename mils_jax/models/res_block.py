"""The residual block that networks with different convolutions share."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn


class ResBlock(nn.Module):
  """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where stride or width changes.

  "Deep Residual Learning for Image Recognition" (He et al., CVPR 2016, https://arxiv.org/abs/1512.03385), figure 2.

  Attributes:
    features: output channels.
    conv: makes a convolution from (input channels, kernel_size, stride, name).
    norm: makes a normalisation from (name); it is called with (x, train, mask).
    stride: stride of the first convolution.
  """

  features: int
  conv: Callable[..., Any]
  norm: Callable[..., Any]
  stride: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', features); `mask` as in BatchNorm."""
    channels = x.shape[-1]
    y = self.conv(channels, kernel_size=3, stride=self.stride, name='conv1')(x)
    y = nn.relu(self.norm(name='norm1')(y, train, mask))
    y = self.conv(self.features, kernel_size=3, stride=1, name='conv2')(y)
    y = self.norm(name='norm2')(y, train, mask)
    if self.stride != 1 or channels != self.features:
      x = self.conv(channels, kernel_size=1, stride=self.stride, name='shortcut_conv')(x)
      x = self.norm(name='shortcut_norm')(x, train, mask)
    return nn.relu(x + y)

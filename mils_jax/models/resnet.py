"""ResNet34, the baseline: "Deep Residual Learning for Image Recognition" (He et al., CVPR 2016), section 4.1."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.config import option
from mils_jax.nn.batch_norm import BatchNorm
from mils_jax.nn.convolution import Conv
from mils_jax.nn.input_channels import IMPUTATIONS, InputChannels
from mils_jax.nn.pooling import max_pool


class ResBlock(nn.Module):
  """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where stride or width changes.

  Attributes:
    features: output channels.
    stride: of the first convolution.
    implementation: as in Conv.
    dtype: of the computation.
    axis_name: as in BatchNorm.
  """

  features: int
  stride: int = 1
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', features); `mask` as in BatchNorm."""
    conv = partial(Conv, self.features, implementation=self.implementation, dtype=self.dtype)
    norm = partial(BatchNorm, axis_name=self.axis_name)
    y = conv(stride=self.stride, name='conv1')(x)
    y = nn.relu(norm(name='norm1')(y, train, mask))
    y = conv(name='conv2')(y)
    y = norm(name='norm2')(y, train, mask)
    if self.stride != 1 or x.shape[-1] != self.features:
      x = conv(kernel_size=1, stride=self.stride, name='shortcut_conv')(x)
      x = norm(name='shortcut_norm')(x, train, mask)
    return nn.relu(x + y)


class ResNet34(nn.Module):
  """The standard network: a 7x7 stem, max pooling, four stages of basic blocks, and a classifier.

  Attributes:
    num_classes: number of logits.
    in_channels: input channels; images may have fewer channels.
    imputation, rescale: as in InputChannels.
    widths: output channels of each stage.
    blocks: residual blocks in each stage.
    implementation: as in Conv.
    dtype: of the computation.
    axis_name: as in BatchNorm.
  """

  num_classes: int
  in_channels: int = 3
  imputation: str = option('zero', 'of missing channels: zero, a learned value each, or predicted by an MLP from those there',
                           choices=IMPUTATIONS)
  rescale: bool = option(False, 'multiply the present channels by the number of input channels / their number')
  widths: tuple[int, ...] = option((64, 128, 256, 512), 'output channels of each stage')
  blocks: tuple[int, ...] = option((3, 4, 6, 3), 'residual blocks in each stage')
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool, present: jax.Array | None = None,
               mask: jax.Array | None = None) -> jax.Array:
    """Classifies images: arguments and result as in DynamicResNet12."""
    x, _ = InputChannels(self.in_channels, self.imputation, self.rescale, self.dtype, name='input')(images, present)
    x = Conv(self.widths[0], kernel_size=7, stride=2, implementation=self.implementation, dtype=self.dtype, name='stem_conv')(x)
    pool = partial(max_pool, window=3, stride=2, padding=1)
    x = BatchNorm(axis_name=self.axis_name, name='stem_norm')(x, train, mask, pool)
    x = nn.relu(x)  # as before the pooling, on a quarter of the values
    for stage, (width, blocks) in enumerate(zip(self.widths, self.blocks, strict=True), start=1):
      for block in range(1, blocks + 1):
        stride = 2 if stage > 1 and block == 1 else 1
        x = ResBlock(width, stride, self.implementation, self.dtype, self.axis_name, name=f'stage{stage}_block{block}')(
            x, train, mask)
    x = x.mean(axis=(1, 2), dtype=jnp.float32)  # (B, C)
    return nn.Dense(self.num_classes, name='classifier')(x)

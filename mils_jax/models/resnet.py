"""ResNet34, the baseline: "Deep Residual Learning for Image Recognition" (He et al., CVPR 2016), section 4.1."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.models.batch_norm import BatchNorm
from mils_jax.models.convolution import Conv
from mils_jax.models.input_slots import InputSlots
from mils_jax.models.pooling import max_pool


class ResBlock(nn.Module):
  """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where stride or width changes.

  Attributes:
    features: output channels.
    stride: of the first convolution.
    form: as in Conv.
    dtype: of the computation.
    axis_name: as in BatchNorm.
  """

  features: int
  stride: int = 1
  form: str = 'auto'
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, weight: jax.Array | None = None) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', features); `weight` as in BatchNorm."""
    conv = partial(Conv, self.features, form=self.form, dtype=self.dtype)
    norm = partial(BatchNorm, axis_name=self.axis_name)
    y = conv(stride=self.stride, name='conv1')(x)
    y = nn.relu(norm(name='norm1')(y, train, weight))
    y = conv(name='conv2')(y)
    y = norm(name='norm2')(y, train, weight)
    if self.stride != 1 or x.shape[-1] != self.features:
      x = conv(kernel_size=1, stride=self.stride, name='shortcut_conv')(x)
      x = norm(name='shortcut_norm')(x, train, weight)
    return nn.relu(x + y)


class ResNet34(nn.Module):
  """The standard network: a 7x7 stem, max pooling, four stages of basic blocks, and a classifier.

  Attributes:
    num_classes: number of logits.
    max_channels: input slots; pictures may have fewer channels.
    fill, rescale: as in InputSlots.
    widths: output channels of each stage.
    blocks: residual blocks in each stage.
    form: as in Conv.
    dtype: of the computation.
    axis_name: as in BatchNorm.
  """

  num_classes: int
  max_channels: int = 3
  fill: str = 'zero'
  rescale: bool = False
  widths: tuple[int, ...] = (64, 128, 256, 512)
  blocks: tuple[int, ...] = (3, 4, 6, 3)
  form: str = 'auto'
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool, present: jax.Array | None = None,
               weight: jax.Array | None = None) -> jax.Array:
    """Classifies pictures: arguments and result as in DynamicResNet12."""
    x, _ = InputSlots(self.max_channels, self.fill, self.rescale, self.dtype, name='input')(images, present)
    x = Conv(self.widths[0], kernel_size=7, stride=2, form=self.form, dtype=self.dtype, name='stem_conv')(x)
    pool = partial(max_pool, window=3, stride=2, padding=1)
    x = BatchNorm(axis_name=self.axis_name, name='stem_norm')(x, train, weight, pool)
    x = nn.relu(x)  # as before the pooling, on a quarter of the values
    for stage, (width, blocks) in enumerate(zip(self.widths, self.blocks, strict=True), start=1):
      for block in range(1, blocks + 1):
        stride = 2 if stage > 1 and block == 1 else 1
        x = ResBlock(width, stride, self.form, self.dtype, self.axis_name, name=f'stage{stage}_block{block}')(
            x, train, weight)
    x = x.mean(axis=(1, 2), dtype=jnp.float32)  # (B, C)
    return nn.Dense(self.num_classes, name='classifier')(x)

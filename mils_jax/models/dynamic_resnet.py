"""DynamicResNet12: a residual network whose every convolution is dynamic (report, section I)."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.config import option
from mils_jax.nn.batch_norm import BatchNorm
from mils_jax.nn.dynamic_conv import MIXES, DynamicConv
from mils_jax.nn.input_channels import IMPUTATIONS, InputChannels
from mils_jax.nn.pooling import max_pool


class DynamicResBlock(nn.Module):
  """Two dynamic 3x3 convolutions and a shortcut, which is a dynamic 1x1 convolution where stride or width changes.

  Attributes:
    features: output channels.
    stride: of the first convolution.
    kernels, temperature, mix, implementation, dtype: as in DynamicConv.
    axis_name: as in BatchNorm.
  """

  features: int
  stride: int = 1
  num_kernels: int = 4
  temperature: float = 30.0
  mix: str = 'auto'
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None,
               temperature: jax.Array | float | None = None) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', features); `mask` as in BatchNorm, `temperature` as in DynamicConv."""
    conv = partial(DynamicConv, self.features, num_kernels=self.num_kernels, temperature=self.temperature,
                   mix=self.mix, implementation=self.implementation, dtype=self.dtype)
    norm = partial(BatchNorm, axis_name=self.axis_name)
    channels = x.shape[-1]
    y = conv(channels, stride=self.stride, name='conv1')(x, temperature=temperature)
    y = nn.relu(norm(name='norm1')(y, train, mask))
    y = conv(self.features, name='conv2')(y, temperature=temperature)
    y = norm(name='norm2')(y, train, mask)
    if self.stride != 1 or channels != self.features:
      x = conv(channels, kernel_size=1, stride=self.stride, name='shortcut_conv')(x, temperature=temperature)
      x = norm(name='shortcut_norm')(x, train, mask)
    return nn.relu(x + y)


class DynamicResNet12(nn.Module):
  """A stem, three stages of three blocks, the first of each with stride 2, and a classifier.

  Attributes:
    num_classes: number of logits.
    in_channels: input channels; images may have fewer channels.
    imputation, rescale: as in InputChannels.
    attend_presence: let the first layer's attention see which channels are there.
    widths: output channels of each stage.
    blocks: residual blocks in each stage.
    stem_width: output channels of the stem.
    kernels, temperature, mix, implementation, dtype: as in DynamicConv. A variable 'temperature' in the collection
      'schedules' takes the field's place, so that a checkpoint says what it was trained with last.
    axis_name: as in BatchNorm.
  """

  num_classes: int
  in_channels: int = 3
  imputation: str = option('zero', 'of missing channels: zero, a learned value each, or predicted by an MLP from those there',
                           choices=IMPUTATIONS)
  rescale: bool = option(False, 'multiply the present channels by the number of input channels / their number')
  attend_presence: bool = option(False, "let the first layer's attention see which channels are there")
  widths: tuple[int, ...] = option((64, 128, 256), 'output channels of each stage')
  blocks: int = option(3, 'residual blocks in each stage', low=1)
  stem_width: int = option(64, 'output channels of the stem', low=1)
  num_kernels: int = option(4, 'K, kernels mixed in each convolution', low=1)
  temperature: float = option(30.0, "of the attention's softmax, in the end; high: close to uniform", above=0)
  mix: str = option('auto', 'outputs or kernels: what the attention mixes, to the same result; auto: the faster',
                    choices=MIXES)
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, images: jax.Array, train: bool, present: jax.Array | None = None,
               mask: jax.Array | None = None) -> jax.Array:
    """Classifies images.

    Args:
      images: (B, H, W, C <= in_channels), normalised.
      train: whether batch statistics are used and recorded.
      present: (B, C) bool, False where a sample lacks the channel; None: all are there.
      mask: (B,) 0 for padding, else 1; None: every sample counts.

    Returns:
      (B, num_classes) float32 logits.
    """
    dynamic = {'num_kernels': self.num_kernels, 'temperature': self.temperature, 'mix': self.mix,
               'implementation': self.implementation, 'dtype': self.dtype}
    temperature = self.get_variable('schedules', 'temperature', self.temperature)
    x, present = InputChannels(self.in_channels, self.imputation, self.rescale, self.dtype, name='input')(images, present)
    x = DynamicConv(self.stem_width, self.in_channels, name='stem_conv', **dynamic)(
        x, present if self.attend_presence else None, temperature)
    x = BatchNorm(axis_name=self.axis_name, name='stem_norm')(x, train, mask, partial(max_pool, window=2, stride=2))
    x = nn.relu(x)  # as before the pooling, on a quarter of the values
    for stage, width in enumerate(self.widths, start=1):
      for block in range(1, self.blocks + 1):
        stride = 2 if block == 1 else 1
        x = DynamicResBlock(width, stride, axis_name=self.axis_name, name=f'stage{stage}_block{block}', **dynamic)(
            x, train, mask, temperature)
    x = x.mean(axis=(1, 2), dtype=jnp.float32)  # (B, C)
    return nn.Dense(self.num_classes, name='classifier')(x)

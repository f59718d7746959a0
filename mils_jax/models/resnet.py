"""ResNet34, the baseline."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.config import option
from mils_jax.models.network import ImageClassifier, register
from mils_jax.models.res_block import ResBlock
from mils_jax.nn.batch_norm import BatchNorm
from mils_jax.nn.conditioning import Film
from mils_jax.nn.convolution import Conv
from mils_jax.nn.input_channels import InputChannels
from mils_jax.nn.pooling import max_pool


@register('resnet34', title='ResNet34')
class ResNet34(ImageClassifier):
  """The standard network: a 7x7 stem, max pooling, four stages of basic blocks, and a classifier.

  "Deep Residual Learning for Image Recognition" (He et al., CVPR 2016, https://arxiv.org/abs/1512.03385), section 4.1;
  with `small_images` the stem is that of its section 4.2.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.models import ResNet34
    >>> network = ResNet34(num_classes=10, small_images=True, widths=(4, 8), blocks=(1, 1))  # for a quick look
    >>> images = jnp.ones((2, 16, 16, 3))  # (B, H, W, C)
    >>> variables = network.init(jax.random.key(0), images, train=False)
    >>> network.apply(variables, images, train=False).shape
    (2, 10)
  """

  small_images: bool = option(False, '3x3 stem without stride or pooling, for images of about 32 pixels; about 16 '
                              'times the compute')
  widths: tuple[int, ...] = option((64, 128, 256, 512), 'output channels of each stage', low=1)
  blocks: tuple[int, ...] = option((3, 4, 6, 3), 'residual blocks of each stage', low=1)

  @nn.compact
  def __call__(self, images: jax.Array, train: bool, present: jax.Array | None = None,
               mask: jax.Array | None = None) -> jax.Array:
    norm = partial(BatchNorm, axis_name=self.axis_name)

    def conv(features: int, _: int, **options: Any) -> Conv:
      return Conv(features, implementation=self.implementation, dtype=self.dtype, **options)

    x, present = InputChannels(self.in_channels, self.imputation, self.rescale, self.dtype, self.axis_name,
                               name='input')(images, present, train, mask)
    condition = self.condition(present)
    if self.small_images:
      kernel_size, stride, pooling = 3, 1, None
    else:
      kernel_size, stride, pooling = 7, 2, partial(max_pool, window=3, stride=2, padding=1)
    x = conv(self.widths[0], self.in_channels, kernel_size=kernel_size, stride=stride, name='stem_conv')(x)
    x = norm(name='stem_norm')(x, train, mask, pooling)
    x = Film(name='stem_film')(nn.relu(x), condition)  # the same as before the pooling, on fewer values
    for stage, (width, blocks) in enumerate(zip(self.widths, self.blocks, strict=True), start=1):
      for block in range(1, blocks + 1):
        stride = 2 if stage > 1 and block == 1 else 1
        x = ResBlock(width, partial(conv, width), norm, stride, name=f'stage{stage}_block{block}')(x, train, mask)
      x = Film(name=f'stage{stage}_film')(x, condition)
    x = x.mean(axis=(1, 2), dtype=jnp.float32)  # (B, C)
    return self.classify(x, images, present, train)

"""DynamicResNet12: a residual network in which every convolution is dynamic (report, section I)."""

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
from mils_jax.nn.dynamic_conv import MIXES, DynamicConv
from mils_jax.nn.input_channels import InputChannels
from mils_jax.nn.pooling import max_pool


@register('dynamic_resnet12', title='DynamicResNet12')
class DynamicResNet12(ImageClassifier):
  """A stem, three stages of three blocks, the first of each with stride 2, and a classifier.

  Each option documents itself; implementation and dtype are those of DynamicConv. A variable 'temperature' in the
  collection 'schedules' replaces the field, so that a checkpoint holds the temperature of its last training step.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.models import DynamicResNet12
    >>> network = DynamicResNet12(num_classes=10, in_channels=13, widths=(8,), blocks=1, stem_width=8, num_kernels=2)
    >>> images = jnp.ones((2, 16, 16, 4))  # (B, H, W, C): four of up to 13 channels
    >>> variables = network.init(jax.random.key(0), images, train=False)
    >>> network.apply({**variables, 'schedules': {'temperature': 5.0}}, images, train=False).shape
    (2, 10)
  """

  attend_presence: bool = option(False, "show the first layer's attention which channels are present")
  widths: tuple[int, ...] = option((64, 128, 256), 'output channels of each stage', low=1)
  blocks: int = option(3, 'residual blocks per stage', low=1)
  stem_width: int = option(64, 'output channels of the stem', low=1)
  num_kernels: int = option(4, 'kernels mixed in each convolution (K)', low=1)
  temperature: float = option(30.0, 'final softmax temperature of the kernel attention; high: nearly uniform', above=0)
  mix: str = option('auto', 'what attention mixes, with the same result: outputs or kernels; auto: the faster',
                    choices=MIXES)

  @nn.compact
  def __call__(self, images: jax.Array, train: bool, present: jax.Array | None = None,
               mask: jax.Array | None = None) -> jax.Array:
    temperature = self.get_variable('schedules', 'temperature', self.temperature)
    norm = partial(BatchNorm, axis_name=self.axis_name)

    def conv(features: int, in_channels: int, **options: Any) -> partial:
      layer = DynamicConv(features, in_channels, num_kernels=self.num_kernels, temperature=self.temperature,
                          mix=self.mix, implementation=self.implementation, dtype=self.dtype, **options)
      return partial(layer, temperature=temperature)

    x, present = InputChannels(self.in_channels, self.imputation, self.rescale, self.dtype, self.axis_name,
                               name='input')(images, present, train, mask)
    condition = self.condition(present)
    x = conv(self.stem_width, self.in_channels, name='stem_conv')(x, present if self.attend_presence else None)
    x = norm(name='stem_norm')(x, train, mask, partial(max_pool, window=2, stride=2))
    x = Film(name='stem_film')(nn.relu(x), condition)  # same as ReLU before the pooling, on a quarter of the values
    for stage, width in enumerate(self.widths, start=1):
      for block in range(1, self.blocks + 1):
        x = ResBlock(width, partial(conv, width), norm, 2 if block == 1 else 1, name=f'stage{stage}_block{block}')(
            x, train, mask)
      x = Film(name=f'stage{stage}_film')(x, condition)
    x = x.mean(axis=(1, 2), dtype=jnp.float32)  # (B, C)
    return self.classify(x, images, present, train)

"""WideCNN: two to four wide stages with squeeze-and-excitation (report, section II)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.config import option
from mils_jax.models.network import ImageClassifier, register
from mils_jax.nn.batch_norm import BatchNorm
from mils_jax.nn.conditioning import Film
from mils_jax.nn.convolution import Conv
from mils_jax.nn.drop_block import DropBlock
from mils_jax.nn.input_channels import InputChannels
from mils_jax.nn.squeeze_excite import SqueezeExcite


class WideStage(nn.Module):
  """A convolution with a shortcut, ReLU, then squeeze-and-excitation. There is no ReLU before the addition.

  Attributes:
    features: output channels.
    kernel_size: side of the kernel, odd.
    stride: stride of the convolution.
    implementation: as in Conv.
    dtype: dtype of the computation.
    axis_name: as in BatchNorm.
  """

  features: int
  kernel_size: int = 3
  stride: int = 2
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
    """(B, H, W, C) -> (B, H', W', features); `mask` as in BatchNorm."""
    y = Conv(self.features, self.kernel_size, self.stride, self.implementation, self.dtype, name='conv')(x)
    y = BatchNorm(axis_name=self.axis_name, name='norm')(y, train, mask)
    if self.stride != 1 or x.shape[-1] != self.features:
      x = Conv(self.features, 1, self.stride, self.implementation, self.dtype, name='shortcut_conv')(x)
      x = BatchNorm(axis_name=self.axis_name, name='shortcut_norm')(x, train, mask)
    return SqueezeExcite(dtype=self.dtype, name='squeeze_excite')(nn.relu(x + y))


@register('wide_cnn', title='WideCNN')
class WideCNN(ImageClassifier):
  """Wide stages and a classifier; the defaults are the report's WideCNN4. Dropout draws from the stream 'dropout'.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.models import WideCNN
    >>> network = WideCNN(num_classes=10, in_channels=7, width=8, stages=2)
    >>> images = jnp.ones((2, 16, 16, 7))  # (B, H, W, C)
    >>> present = jnp.ones((2, 7), bool).at[1, 3].set(False)  # (B, C): the second image lacks its fourth channel
    >>> logits, variables = network.init_with_output(jax.random.key(0), images, train=False, present=present)
    >>> logits.shape
    (2, 10)
  """

  stages: int = option(4, 'number of stages; 2, 3 or 4 in the report', low=2)
  width: int = option(256, 'output channels of every stage', low=1)
  strides: tuple[int, ...] = option((2, 2, 2, 2), 'stride of each stage; 1 in early stages keeps detail but is slower',
                                    low=1)
  kernel_sizes: tuple[int, ...] = option((7, 3, 3, 3), 'kernel size of each stage, odd', low=1)
  dropout: float = option(0.0, 'dropout rate before the classifier', low=0, below=1)
  drop_block: float = option(0.0, 'DropBlock rate after every stage', low=0, below=1)
  drop_block_size: int = option(5, 'side of the squares of DropBlock, in positions of the feature map', low=1)

  @nn.compact
  def __call__(self, images: jax.Array, train: bool, present: jax.Array | None = None,
               mask: jax.Array | None = None) -> jax.Array:
    if self.stages > min(len(self.strides), len(self.kernel_sizes)):
      raise ValueError(f'stages={self.stages}: each needs a stride and a kernel size; there are {len(self.strides)} '
                       f'and {len(self.kernel_sizes)}')
    x, present = InputChannels(self.in_channels, self.imputation, self.rescale, self.dtype, self.axis_name,
                               name='input')(images, present, train, mask)
    condition = self.condition(present)
    for stage in range(self.stages):
      x = WideStage(self.width, self.kernel_sizes[stage], self.strides[stage], self.implementation, self.dtype,
                    self.axis_name, name=f'stage{stage + 1}')(x, train, mask)
      x = Film(name=f'stage{stage + 1}_film')(x, condition)
      x = DropBlock(self.drop_block, self.drop_block_size, name=f'drop_block{stage + 1}')(x, train)
    x = x.mean(axis=(1, 2), dtype=jnp.float32)  # (B, C)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return self.classify(x, images, present, train)

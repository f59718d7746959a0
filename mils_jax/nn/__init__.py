"""Layers for use on their own, as linen modules with plain fields."""

from mils_jax.nn.batch_norm import BatchNorm
from mils_jax.nn.conditioning import Film, StatisticsClassifier, channel_statistics
from mils_jax.nn.convolution import Conv, convolve
from mils_jax.nn.drop_block import DropBlock
from mils_jax.nn.dynamic_conv import DynamicConv, KernelAttention, dynamic_convolve
from mils_jax.nn.input_channels import InputChannels, LinearImputation
from mils_jax.nn.pooling import max_pool
from mils_jax.nn.squeeze_excite import SqueezeExcite

__all__ = ['BatchNorm', 'Conv', 'DropBlock', 'DynamicConv', 'Film', 'InputChannels', 'KernelAttention',
           'LinearImputation', 'SqueezeExcite', 'StatisticsClassifier', 'channel_statistics', 'convolve',
           'dynamic_convolve', 'max_pool']

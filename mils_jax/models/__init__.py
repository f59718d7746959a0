"""The networks, and the modules that they are made of, for use in anyone's own linen network."""

from mils_jax.models.dynamic_resnet import DynamicResBlock, DynamicResNet12
from mils_jax.models.resnet import ResBlock, ResNet34
from mils_jax.models.wide_cnn import WideCNN, WideStage
from mils_jax.nn.batch_norm import BatchNorm
from mils_jax.nn.convolution import Conv
from mils_jax.nn.drop_block import DropBlock
from mils_jax.nn.dynamic_conv import DynamicConv, KernelAttention
from mils_jax.nn.input_channels import InputChannels
from mils_jax.nn.squeeze_excite import SqueezeExcite

MODELS = {'dynamic_resnet12': DynamicResNet12, 'wide_cnn': WideCNN, 'resnet34': ResNet34}

__all__ = ['MODELS', 'BatchNorm', 'Conv', 'DropBlock', 'DynamicConv', 'DynamicResBlock', 'DynamicResNet12',
           'InputChannels', 'KernelAttention', 'ResBlock', 'ResNet34', 'SqueezeExcite', 'WideCNN', 'WideStage']

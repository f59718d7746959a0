"""The networks. Each module of this package registers its network when it is imported; this imports all of them."""

import importlib
import pkgutil

from mils_jax.models.dynamic_resnet import DynamicResNet12
from mils_jax.models.network import Network, networks, register, title_of
from mils_jax.models.resnet import ResNet34
from mils_jax.models.wide_cnn import WideCNN

for _module in pkgutil.iter_modules(__path__):
  importlib.import_module(f'{__name__}.{_module.name}')

__all__ = ['DynamicResNet12', 'Network', 'ResNet34', 'WideCNN', 'networks', 'register', 'title_of']

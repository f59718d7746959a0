"""The baseline of task B: ResNet34.

    python main.py --config configs/resnet34.py
    python main.py --config configs/resnet34.py:mini_imagenet --config.data.path=DIR
"""

from ml_collections import ConfigDict

from mils_jax.configs.base import base_config, select_data


def get_config(variant: str = 'shapes') -> ConfigDict:
  config = base_config('resnet34', 'resnet34')
  config.train.epochs = 8
  config.train.batch_size = 32  # 90% on validation; 88% with 64 at 2e-3 and half the steps (docs/results.md)
  config.optimizer.learning_rate = 1.5e-3
  select_data(config, variant)
  if variant == 'mini_imagenet':
    config.train.batch_size = 1024
    config.optimizer.weight_decay = 1e-4
  return config

"""Task A: DynamicResNet12 of the report; any_channels is the recipe for missing channels.

    python main.py --config configs/task_a.py
    python main.py --config configs/task_a.py:mini_imagenet --config.data.path=DIR --config.channels.use=RG
"""

from ml_collections import ConfigDict

from mils_jax.configs.base import base_config, select_data


def get_config(variant: str = 'shapes') -> ConfigDict:
  config = base_config('task_a', 'dynamic_resnet12')
  select_data(config, variant)
  if variant == 'mini_imagenet':
    config.train.batch_size = 128
    config.optimizer.weight_decay = 5e-4
  return config

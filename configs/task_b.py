"""Task B: WideCNN4, two to four wide layers instead of 34.

    python main.py --config configs/task_b.py
    python main.py --config configs/task_b.py:mini_imagenet --config.data.path=DIR --config.model.stages=2
"""

from ml_collections import ConfigDict

from mils_jax.configs.base import base_config, select_data


def get_config(variant: str = 'shapes') -> ConfigDict:
  config = base_config('task_b', 'wide_cnn')
  config.train.epochs = 8
  config.optimizer.update(name='muon', learning_rate=2e-2)  # 99% on validation, AdamW 92% (docs/results.md)
  select_data(config, variant)
  if variant == 'mini_imagenet':
    config.train.batch_size = 512
    config.optimizer.weight_decay = 5e-4
  elif variant == 'mini_imagenet_strong':
    config.optimizer.learning_rate = 4e-3
  return config

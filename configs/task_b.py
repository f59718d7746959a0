"""Task B: WideCNN4, two to four wide layers instead of 34.

    python main.py --config configs/task_b.py
    python main.py --config configs/task_b.py:mini_imagenet --config.data.path=DIR --config.model.stages=2
"""

from ml_collections import ConfigDict

from configs.base import base_config, select_data


def get_config(variant: str = 'shapes') -> ConfigDict:
  config = base_config('task_b')
  config.model.name = 'wide_cnn'
  config.model.stages = 4  # 2, 3 or 4
  config.model.width = 256  # channels of every stage
  config.model.strides = (2, 2, 2, 2)  # of each stage; 1 in early stages keeps detail and costs time
  config.model.dropout = 0.0  # rate before the classifier
  config.model.drop_block = 0.0  # rate of cleared squares after every stage
  config.model.drop_block_size = 5  # side of these squares, in places of the map
  config.train.epochs = 12
  select_data(config, variant)
  if variant == 'mini_imagenet':
    config.train.batch_size = 512
    config.optimizer.weight_decay = 5e-4
  return config

"""Table II: two, three and four wide stages against ResNet34, under one recipe.

    python main.py --config configs/sweeps/table2.py --mode sweep --config.common.data.path=DIR [--dry_run]

On mini-ImageNet at 32x32. The first run is the one that the others are compared with.
"""

from ml_collections import ConfigDict

from mils_jax.configs import resnet34, task_b


def get_config() -> ConfigDict:
  wide_cnn = task_b.get_config('mini_imagenet')
  config = ConfigDict()
  config.name = 'table2'
  config.table = 'models'

  config.common = ConfigDict()  # fields that all runs are given
  config.common.data = ConfigDict({'path': '', 'image_size': 32})
  config.common.train = ConfigDict({'epochs': 10, 'batch_size': 128, 'precision': 'auto'})
  config.common.optimizer = ConfigDict({'learning_rate': 0.1, 'weight_decay': 5e-4})
  config.common.checkpoint = wide_cnn.checkpoint
  config.common.runtime = wide_cnn.runtime

  config.runs = (  # name, base configuration, overrides, seeds
      ('resnet34', resnet34.get_config('mini_imagenet'), {}, (0, 1, 2)),
      ('wide_cnn2', wide_cnn, {'model.stages': 2}, (0,)),
      ('wide_cnn3', wide_cnn, {'model.stages': 3}, (0,)),
      ('wide_cnn4', wide_cnn, {'model.stages': 4}, (0, 1, 2)),
  )
  return config

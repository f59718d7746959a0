"""Table II: two, three and four wide stages against ResNet34.

    python main.py --config configs/sweeps/table2.py --mode sweep --config.common.data.path=DIR [--dry_run]
    python main.py --config configs/sweeps/table2.py:strong --mode sweep --config.common.data.path=DIR [--dry_run]

On mini-ImageNet at 32x32: 10 epochs of the report's recipe, the same for all, or 40 of `mini_imagenet_strong`, with the
learning rate that suits each network. The others are compared with the first run.
"""

from ml_collections import ConfigDict

from mils_jax.configs import resnet34, task_b
from mils_jax.errors import unknown

RECIPES = {'report': 'mini_imagenet', 'strong': 'mini_imagenet_strong'}


def get_config(variant: str = 'report') -> ConfigDict:
  if variant not in RECIPES:
    raise unknown('variant', variant, RECIPES)
  baseline, wide_cnn = (task.get_config(RECIPES[variant]) for task in (resnet34, task_b))
  config = ConfigDict()
  config.name = 'table2'
  config.table = 'models'

  config.common = ConfigDict()  # fields of all runs
  config.common.data = ConfigDict({'path': '', 'image_size': 32})
  config.common.train = ConfigDict({'epochs': 40, 'batch_size': 128, 'precision': 'auto'})
  config.common.checkpoint = wide_cnn.checkpoint
  config.common.runtime = wide_cnn.runtime

  config.runs = (  # name, base configuration, overrides, seeds
      ('resnet34', baseline, {}, (0, 1, 2)),
      ('wide_cnn2', wide_cnn, {'model.stages': 2}, (0,)),
      ('wide_cnn3', wide_cnn, {'model.stages': 3}, (0,)),
      ('wide_cnn4', wide_cnn, {'model.stages': 4}, (0, 1, 2)),
  )
  if variant == 'report':
    config.common.train.epochs = 10
    config.common.optimizer = ConfigDict({'learning_rate': 0.1, 'weight_decay': 5e-4})
  else:
    config.runs += (('resnet34_small_images', baseline, {'model.small_images': True}, (0,)),)
  return config

"""Table II: two, three and four wide stages against ResNet34, each recipe for all.

    python main.py --config configs/sweeps/table2.py --mode sweep --config.common.data.path=DIR [--dry_run]
    python main.py --config configs/sweeps/table2.py:strong --mode sweep --config.common.data.path=DIR [--dry_run]

On mini-ImageNet at 32x32: a few epochs of the report's recipe, or many of the recipe `mini_imagenet_strong`. The first
run is the one that the others are compared with.
"""

from ml_collections import ConfigDict

from mils_jax.configs import resnet34, task_b
from mils_jax.errors import unknown


def get_config(variant: str = 'report') -> ConfigDict:
  if variant not in ('report', 'strong'):
    raise unknown('variant', variant, ('report', 'strong'))
  recipe = 'mini_imagenet' if variant == 'report' else 'mini_imagenet_strong'
  wide_cnn, baseline = task_b.get_config(recipe), resnet34.get_config(recipe)
  config = ConfigDict()
  config.name = 'table2' if variant == 'report' else 'table2_strong'
  config.table = 'models'

  config.common = ConfigDict()  # fields that all runs are given
  config.common.data = ConfigDict({'path': '', 'image_size': 32})
  if variant == 'report':
    config.common.train = ConfigDict({'epochs': 10, 'batch_size': 128, 'precision': 'auto'})
    config.common.optimizer = ConfigDict({'learning_rate': 0.1, 'weight_decay': 5e-4})
  else:
    config.common.train = ConfigDict({'epochs': 50, 'precision': 'auto'})
  config.common.checkpoint = wide_cnn.checkpoint
  config.common.runtime = wide_cnn.runtime

  config.runs = (  # name, base configuration, overrides, seeds
      ('resnet34', baseline, {}, (0, 1, 2)),
      ('wide_cnn2', wide_cnn, {'model.stages': 2}, (0,)),
      ('wide_cnn3', wide_cnn, {'model.stages': 3}, (0,)),
      ('wide_cnn4', wide_cnn, {'model.stages': 4}, (0, 1, 2)),
  )
  if variant == 'strong':
    config.runs += (('resnet34_small_images', baseline, {'model.small_images': True}, (0,)),)
  return config

"""Table I: what one generalist for all channel subsets loses against a specialist trained for each.

    python main.py --config configs/sweeps/specialists.py --mode sweep --config.common.data.path=DIR [--dry_run]

DynamicResNet12 on mini-ImageNet at 32x32. The specialists and the generalist have the same recipe and budget.
"""

from ml_collections import ConfigDict

from mils_jax.configs import task_a

SUBSETS = ('RGB', 'R', 'G', 'B', 'RG', 'RB', 'GB')


def get_config() -> ConfigDict:
  recipe = task_a.get_config('mini_imagenet')
  config = ConfigDict()
  config.name = 'specialists'
  config.table = 'specialists'  # table at the end of the sweep: specialists, ablation or models

  config.common = ConfigDict()  # fields of all runs
  config.common.data = ConfigDict({'path': '', 'image_size': 32})
  config.common.train = ConfigDict({'epochs': 6, 'batch_size': 128, 'precision': 'auto'})
  config.common.checkpoint = recipe.checkpoint
  config.common.runtime = recipe.runtime

  config.runs = (  # name, base configuration, overrides, seeds
      *((subset, recipe, {'channels.use': subset}, (0,)) for subset in SUBSETS),
      ('generalist', recipe, {'channel_dropout.method': 'hierarchical'}, (0,)),
  )
  return config

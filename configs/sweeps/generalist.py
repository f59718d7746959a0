"""What one model for any channels loses against a specialist for each subset, on any data.

    python main.py --config configs/sweeps/generalist.py --mode sweep --config.common.data.source=arrays \
        --config.common.data.path=bands.npz [--config.specialists.subsets='red,green,blue; nir'] [--dry_run]

Specialists and generalists share the recipe of configs/any_channels.py; one generalist has as many epochs as a
specialist, the other as many as all specialists together.
"""

from ml_collections import ConfigDict

from mils_jax.configs import any_channels


def get_config() -> ConfigDict:
  recipe = any_channels.get_config()
  config = ConfigDict()
  config.name = 'generalist'
  config.table = 'specialists'
  config.common = recipe.copy_and_resolve_references()  # fields that all runs are given
  config.common.train.steps = 1500  # of a specialist
  config.specialists = ConfigDict({
      'recipe': recipe.copy_and_resolve_references(),
      'generalist': {'channel_dropout': {'method': 'hierarchical'}, 'train': {'best_by': 'subsets'}},
      'subsets': '',  # 'red,green,blue; nir'; empty: the data's usual ones
      'groups': '',  # 'red,green,blue; swir1,swir2': channels that are used together, for the usual subsets
      'seeds': (0,),
  })
  for part in (config.common, config.specialists.recipe):
    part.channel_dropout.method = 'none'
    part.train.best_by = 'accuracy'
  return config

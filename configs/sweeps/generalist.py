"""What one model for any channels loses against a specialist for each subset, on any data.

    python main.py --config configs/sweeps/generalist.py --mode sweep --config.common.data.source=arrays \
        --config.common.data.path=bands.npz [--config.specialists.subsets='red,green,blue; nir'] [--dry_run]

Specialists and generalists share the recipe of configs/any_channels.py; one generalist has as many epochs as a
specialist, the other as many as all specialists together. Half of their samples keep a subset that is named here, if
any is.
"""

from ml_collections import ConfigDict

from mils_jax.configs import any_channels


def get_config() -> ConfigDict:
  recipe = any_channels.get_config()
  config = ConfigDict()
  config.name = 'generalist'
  config.table = 'specialists'
  config.common = recipe  # recipe of a specialist
  config.common.channel_dropout.method = 'none'
  config.common.train.update(steps=1500, best_by='accuracy')
  config.specialists = ConfigDict({
      'generalist': {'channel_dropout': {'method': 'hierarchical'}, 'train': {'best_by': 'subsets'}},
      'subsets': '',  # 'red,green,blue; nir'; empty: the data's usual ones
      'groups': '',  # 'red,green,blue; swir1,swir2': channels that are used together, for the usual subsets
      'seeds': (0,),
  })
  return config

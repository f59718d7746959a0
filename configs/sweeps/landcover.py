"""An ablation of the generalist on seven bands: imputation, rescale, channel dropout, temperature, one at a time.

    python main.py --config configs/sweeps/landcover.py --mode sweep --config.common.data.path=BANDS.npz [--dry_run]
"""

from ml_collections import ConfigDict

from mils_jax.configs import task_a

CHANGES = {
    'default': {},  # hierarchical channel dropout per sample, missing bands zero, temperature 30 throughout
    'imputation-learned': {'model.imputation': 'learned'},
    'imputation-mlp': {'model.imputation': 'mlp'},
    'rescale': {'model.rescale': True},
    'attend-presence': {'model.attend_presence': True},
    'dropout-none': {'channel_dropout.method': 'none'},
    'dropout-independent': {'channel_dropout.method': 'independent'},
    'dropout-per-batch': {'channel_dropout.per': 'batch'},
    'temperature-1': {'model.temperature': 1.0},
    'temperature-linear': {'model.temperature': 1.0, 'attention.annealing': 'linear'},
    'temperature-cosine': {'model.temperature': 1.0, 'attention.annealing': 'cosine'},
}


def get_config() -> ConfigDict:
  recipe = task_a.get_config()
  config = ConfigDict()
  config.name = 'landcover'
  config.table = 'ablation'  # each run against the first

  config.common = ConfigDict()  # fields of all runs
  config.common.data = ConfigDict({'source': 'arrays', 'path': '', 'image_size': 0})
  config.common.channel_dropout = ConfigDict({'method': 'hierarchical', 'rate': 0.5})
  config.common.attention = ConfigDict({'start': 30.0, 'epochs': 4.0})
  config.common.augment = ConfigDict({'crop_padding': 4, 'vertical_flip': True, 'rot90': True})
  config.common.optimizer = ConfigDict({'name': 'sgd', 'learning_rate': 0.1, 'weight_decay': 5e-4})
  config.common.train = ConfigDict({'epochs': 8, 'batch_size': 64, 'precision': 'auto'})
  config.common.evaluation = ConfigDict({'all_subsets_up_to': 6, 'sampled_subsets': 15})  # a run has 127 subsets
  config.common.checkpoint = recipe.checkpoint
  config.common.runtime = recipe.runtime

  config.runs = tuple((name, recipe, change, (0, 1, 2) if name == 'default' else (0,))
                         for name, change in CHANGES.items())
  return config

"""The search behind `mini_imagenet_strong`: three optimizers for each network, 10 epochs, at 32x32; look at validation.

    python main.py --config configs/sweeps/optimizers.py --mode sweep --config.common.data.path=DIR [--dry_run]
"""

from ml_collections import ConfigDict

from mils_jax.configs import resnet34, task_b

OPTIMIZERS = {
    'sgd': {'optimizer.name': 'sgd', 'optimizer.learning_rate': 0.1, 'optimizer.weight_decay': 5e-4},
    'adamw-1e-3': {'optimizer.name': 'adamw', 'optimizer.learning_rate': 1e-3, 'optimizer.weight_decay': 0.05},
    'adamw-4e-3': {'optimizer.name': 'adamw', 'optimizer.learning_rate': 4e-3, 'optimizer.weight_decay': 0.05},
}


def get_config() -> ConfigDict:
  bases = {task.name: task for task in (resnet34.get_config('mini_imagenet_strong'),
                                        task_b.get_config('mini_imagenet_strong'))}
  config = ConfigDict()
  config.name = 'optimizers'
  config.table = 'models'

  config.common = ConfigDict()  # fields that all runs are given
  config.common.data = ConfigDict({'path': '', 'image_size': 32})
  config.common.train = ConfigDict({'epochs': 10, 'precision': 'auto'})
  config.common.checkpoint = bases['task_b'].checkpoint
  config.common.runtime = bases['task_b'].runtime

  config.runs = tuple((f'{name}-{change}', base, fields, (0,))
                      for name, base in bases.items() for change, fields in OPTIMIZERS.items())
  return config

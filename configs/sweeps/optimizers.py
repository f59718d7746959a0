"""The search behind `mini_imagenet_strong`: the same three settings of the optimizer for each network of Table II.

    python main.py --config configs/sweeps/optimizers.py --mode sweep --config.common.data.path=DIR [--dry_run]

10 epochs on mini-ImageNet at 32x32. The table at its end is for the test images; choose by `validation` in the
results.json of each run.
"""

from ml_collections import ConfigDict

from mils_jax.configs import resnet34, task_b

SETTINGS = {
    'sgd': {'optimizer.name': 'sgd', 'optimizer.learning_rate': 0.1, 'optimizer.weight_decay': 5e-4},
    'adamw-1e-3': {'optimizer.name': 'adamw', 'optimizer.learning_rate': 1e-3, 'optimizer.weight_decay': 0.05},
    'adamw-4e-3': {'optimizer.name': 'adamw', 'optimizer.learning_rate': 4e-3, 'optimizer.weight_decay': 0.05},
}


def get_config() -> ConfigDict:
  networks = {'resnet34': resnet34.get_config('mini_imagenet_strong'),
              'wide_cnn4': task_b.get_config('mini_imagenet_strong')}
  config = ConfigDict()
  config.name = 'optimizers'
  config.table = 'models'

  config.common = ConfigDict()  # fields of all runs
  config.common.data = ConfigDict({'path': '', 'image_size': 32})
  config.common.train = ConfigDict({'epochs': 10, 'precision': 'auto'})
  config.common.checkpoint = networks['wide_cnn4'].checkpoint
  config.common.runtime = networks['wide_cnn4'].runtime

  config.runs = tuple((f'{name}-{setting}', base, fields, (0,))
                      for name, base in networks.items() for setting, fields in SETTINGS.items())
  return config

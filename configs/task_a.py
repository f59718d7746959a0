"""Task A: DynamicResNet12, for whichever input channels are there.

    python main.py --config configs/task_a.py
    python main.py --config configs/task_a.py:mini_imagenet --config.data.path=DIR --config.channels.use=RG
"""

from ml_collections import ConfigDict

from configs.base import base_config, select_data


def get_config(variant: str = 'shapes') -> ConfigDict:
  config = base_config('task_a')
  config.model.name = 'dynamic_resnet12'
  config.model.num_kernels = 4  # K, kernels mixed in each convolution
  config.model.temperature = 30.0  # of the attention's softmax, at last; high: close to uniform
  config.model.attend_presence = False  # let the first layer's attention see which channels are there
  config.model.mix = 'auto'  # parallel, mixed, or auto: the faster one for each layer's shape

  config.attention = ConfigDict()
  config.attention.annealing = 'constant'  # of the temperature, to the model's: constant, linear or cosine
  config.attention.start = 30.0  # its first value
  config.attention.epochs = 10.0  # that it takes, from the first on

  select_data(config, variant)
  if variant == 'mini_imagenet':
    config.train.batch_size = 128
    config.optimizer.weight_decay = 5e-4
  return config

"""The common parts of the configurations of all tasks: the data set-ups, and the augmentation of the built-in datasets.

The fields, their defaults and their meaning are declared in mils_jax; `python main.py --config FILE --help` lists them.
"""

from typing import Any

from mils_jax.errors import unknown
from mils_jax.run_config import default_config

VARIANTS = ('shapes', 'mini_imagenet', 'mini_imagenet_strong', 'cifar10')


def base_config(name: str, model: str) -> Any:
  """A configuration of a network: the built-in shapes, flipped, AdamW with a cosine schedule for a few epochs.

  Random crops cost these short trainings accuracy (docs/results.md).
  """
  config = default_config(name, model)
  config.data.image_size = 32
  config.augment.horizontal_flip = True
  config.optimizer.update(name='adamw', learning_rate=3e-3, weight_decay=0.05)
  return config


def select_data(config: Any, variant: str) -> None:
  """Switches to another data set-up.

  `mini_imagenet` is the report's, with its recipe; `mini_imagenet_strong` is the same data, for as many epochs, with
  resized crops and CutMix against overfitting, AdamW and a batch of 128 for every network.
  """
  if variant == 'shapes':
    return
  if variant == 'mini_imagenet':
    config.data.source = 'folder'
    config.data.image_size = 84
    config.data.normalization = 'imagenet'
    config.channels.names = 'R,G,B'
    config.model.num_classes = 100
    config.augment.crop_padding = 4
    config.optimizer.update(name='sgd', learning_rate=0.1, momentum=0.9, decay_all=True, warmup_epochs=0.0,
                            stepped_per_epoch=True)
    config.train.epochs = 100
  elif variant == 'mini_imagenet_strong':
    select_data(config, 'mini_imagenet')
    config.augment.update(crop_padding=0, resized_crop_min_area=0.35, cutmix_alpha=1.0)
    config.optimizer.update(name='adamw', learning_rate=1e-3, weight_decay=0.05, decay_all=False, warmup_epochs=1.0,
                            stepped_per_epoch=False)
    config.train.batch_size = 128
  elif variant == 'cifar10':
    config.data.source = 'tfds'
    config.data.tfds.name = 'cifar10'
    config.channels.names = 'R,G,B'
    config.model.num_classes = 10
    config.augment.crop_padding = 4
    config.optimizer.update(name='sgd', learning_rate=0.1, weight_decay=5e-4)
    config.train.epochs = 30
    config.train.batch_size = 128
  else:
    raise unknown('variant', variant, VARIANTS)

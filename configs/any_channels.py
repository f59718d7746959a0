"""One model for whichever channels are there: THE way to start with own multi-channel images.

    python main.py --config configs/any_channels.py --config.data.source=arrays --config.data.path=bands.npz
    python main.py --mode subsets --workdir runs/any_channels

DynamicResNet12 at half width, told at every stage which channels are present and how their values are distributed,
trained on random subsets of them for 8,000 steps, whatever the size of the training split.
"""

from ml_collections import ConfigDict

from mils_jax.configs.base import base_config


def get_config() -> ConfigDict:
  config = base_config('any_channels', 'dynamic_resnet12')
  config.data.image_size = 0  # as it is
  config.model.update(stem_width=32, widths=(32, 64, 128), conditioning='statistics')
  config.channel_dropout.method = 'hierarchical'
  config.augment.update(crop_padding=0, horizontal_flip=True, vertical_flip=True, rot90=True)
  config.optimizer.update(name='adamw', learning_rate=2e-3, weight_decay=0.05)
  config.train.update(steps=8000, batch_size=64, ema_decay=0.999, best_by='subsets')
  return config

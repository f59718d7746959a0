"""One model for any subset of channels: the way to start with your own multi-channel images.

    python main.py --config configs/any_channels.py --config.data.source=arrays --config.data.path=bands.npz \\
        --workdir runs/bands
    python main.py --mode subsets --workdir runs/bands

DynamicResNet12 at a quarter of the width with plain kernels. Missing channels are predicted from the present ones,
every stage is conditioned on which are present, and a classifier by each channel's statistics is averaged with it. It
is trained on random subsets of the channels for 8,000 steps, and to the end of that epoch, whatever the size of the
training split. docs/results.md has its results. A large dataset may reward the full width (not measured):
--config.model.widths=64,128,256 --config.model.stem_width=64.
"""

from ml_collections import ConfigDict

from mils_jax.configs.base import base_config


def get_config() -> ConfigDict:
  config = base_config('any_channels', 'dynamic_resnet12')
  config.data.image_size = 0  # their own size
  config.model.update(stem_width=16, widths=(16, 32, 64), num_kernels=1, imputation='linear',
                      conditioning='statistics')
  config.channel_dropout.method = 'hierarchical'
  config.augment.update(vertical_flip=True, rot90=True)
  config.optimizer.update(name='adamw', learning_rate=2e-3, weight_decay=0.1)
  config.train.update(epochs=0, steps=8000, batch_size=64, ema_decay=0.999, best_by='subsets')
  return config

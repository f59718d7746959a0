"""A run whose network mixes kernels by attention, opened with its data so that the attention can be read."""

import dataclasses

import numpy as np

from mils_jax import build
from mils_jax.channels import ChannelMapping
from mils_jax.data.cache.dataset import CachedDataset
from mils_jax.distributed.devices import Devices
from mils_jax.errors import UserError
from mils_jax.metrics.attention import AttentionReader, attention_layers
from mils_jax.models import networks
from mils_jax.progress import bar
from mils_jax.restore import Restored, open_fitting_data, restore
from mils_jax.run_config import RunConfig, check_owner
from mils_jax.training.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class AttentiveRun:
  """What reading a run's attention takes.

  Attributes:
    config: of the run.
    restored: its best checkpoint.
    data: its set.
    devices: that share each batch.
    mapping: of the set's channels.
    variables: of the checkpoint, on every device.
    layers: names of the L layers with attention, in the order of the computation.
    kernels: K.
    read: the attention over examples.
  """

  config: RunConfig
  restored: Restored
  data: CachedDataset
  devices: Devices
  mapping: ChannelMapping
  variables: dict
  layers: tuple[str, ...]
  num_kernels: int
  read: AttentionReader


def open_attention(config: RunConfig, folder: RunFolder) -> AttentiveRun:
  """Restores a run's best checkpoint and opens its data.

  Raises:
    UserError: the network has no attention, the data has other classes than it, or as `restore` does.
  """
  check_owner(folder, config, free=('data',))
  check_attention(config, folder)
  restored = restore(folder, config)
  spec = restored.spec
  layers = attention_layers(restored.model, spec.image_size)
  fitting = open_fitting_data(restored, config, only_own=True)
  data, mapping = fitting.data, fitting.mapping
  devices = build.build_devices(config)
  kernels = config.model.num_kernels
  read = AttentionReader(restored.model, tuple(layers), kernels, mapping, devices, config.train.batch_size)
  return AttentiveRun(config, restored, data, devices, mapping, devices.replicate(restored.variables), tuple(layers),
                      kernels, read)


def check_attention(config: RunConfig, folder: RunFolder) -> None:
  """Raises UserError for a network that mixes no kernels."""
  dynamic = ', '.join(name for name, network in networks().items() if hasattr(network, 'num_kernels'))
  if not hasattr(config.model, 'num_kernels'):
    raise UserError(f'{folder.path} has no dynamic convolutions: model.name={config.model.name}. Expected a run of '
                    f'{dynamic}')
  if config.model.num_kernels == 1:
    raise UserError(f'{folder.path} has model.num_kernels=1 and so no attention. Expected a run of {dynamic} with '
                    'model.num_kernels of at least 2')


def mean_attention(run: AttentiveRun, split: str, batches) -> np.ndarray:
  """The mean (L, K) over all examples of a split, with the run's own channels; float64.

  Args:
    run: whose attention.
    split: its name.
    batches: of the split.
  """
  number = len(run.data.splits[split].labels)
  total = np.zeros((len(run.layers), run.kernels))
  with bar(f'attention over {split}', number) as advance:
    for _, attention in run.read(run.variables, np.arange(number, dtype=np.int32), batches):
      total += attention.sum(axis=0, dtype=np.float64)
      advance(len(attention))
  return total / number

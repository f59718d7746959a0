"""Restores a run folder as a usable model, and opens data for this model."""

import dataclasses

import jax
import numpy as np
from flax import linen as nn

from mils_jax import build, invocation
from mils_jax.channels import ChannelMapping
from mils_jax.data.cache.dataset import CachedDataset
from mils_jax.data.loader import OnDevice, OnHost, place_split
from mils_jax.data.sources.names import by_meaning
from mils_jax.data.sources.registry import DataOptions
from mils_jax.distributed.devices import Devices
from mils_jax.errors import RunError, UserError
from mils_jax.metrics.predictions import Evaluator
from mils_jax.models.variables import abstract_variables
from mils_jax.progress import log
from mils_jax.run_config import RunConfig, check_owner, saved_config
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Restored:
  """A trained model.

  Attributes:
    config: configuration of its run.
    model: the network.
    variables: everything that its apply takes, on the host, from the best checkpoint.
    spec: what the model takes and returns.
    step: step after which these variables were saved.
    names_given: whether the run's own configuration named the channels of its data.
  """

  config: RunConfig
  model: nn.Module
  variables: dict
  spec: ModelSpec
  step: int
  names_given: bool = False


def restore(folder: RunFolder, config: RunConfig | None = None) -> Restored:
  """Restores a run's best checkpoint by validation.

  Args:
    folder: the run folder.
    config: the run's own, or one that differs only in its data or in fields that change no result; None: its own.

  Raises:
    UserError: this is no run folder, belongs to another configuration, or has no checkpoint yet.
    RunError: the checkpoint is damaged.
  """
  own = saved_config(folder)
  config = config or own
  check_owner(folder, config, free=('data',))
  while True:
    with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
      step = checkpoints.best_step
      if step is None:
        raise UserError(f'{folder.path} has no checkpoint yet: let its first epoch finish')
      try:
        return Restored(config, *_read_best(checkpoints, config), step, bool(own.data.names))
      except RunError:
        with Checkpoints(folder.checkpoints, read_only=True) as now:
          if now.best_step == step:  # else a training has replaced what was being read
            raise


def _read_best(checkpoints: Checkpoints, config: RunConfig) -> tuple[nn.Module, dict, ModelSpec]:
  spec = checkpoints.restore_spec()
  model = build.build_model(config.model, config.train.precision, jax.default_backend(), len(spec.channels.names),
                            len(spec.classes), spec.image_size)
  # The model defines its own collections; what training keeps beside them is restored as it was saved.
  structure = {**checkpoints.best_structure(), **abstract_variables(model, spec.image_size)}
  return model, checkpoints.restore_best(like=structure), spec


@dataclasses.dataclass(frozen=True)
class FittingData:
  """A dataset that a restored model can be tested on.

  Attributes:
    data: the dataset cache.
    channels: the data's channels that the model was trained with, in the data's order, by the model's names.
    mapping: mapping of the data's channels in the model's input channels; the others are missing.
    own: whether it is the dataset that the model was trained on.
  """

  data: CachedDataset
  channels: tuple[str, ...]
  mapping: ChannelMapping
  own: bool


def open_fitting_data(restored: Restored, config: RunConfig, only_own: bool = False) -> FittingData:
  """Opens the configured data for a restored model, and logs which of its channels the model cannot use.

  Args:
    restored: the model.
    config: configuration that names the data.
    only_own: refuse any dataset but the one that the model was trained on.

  Raises:
    UserError: the data has a class that the model lacks, shares no trained channel with it, has images of another size
      where none is configured, or is another dataset and must not be.
  """
  spec = restored.spec
  data = build.with_classes(spec.classes, build.open_data(config))
  own = data.fingerprint == spec.data_fingerprint or '' != data.content == spec.data_content
  if only_own and not own:
    raise UserError('this is not the data that the run was trained on (its path, images or settings changed). '
                    f'Restore it, or test the run on other data by {invocation.mode("evaluate")}')
  called = by_meaning(data.channels, spec.channels.names)
  if not own and not config.data.image_size and data.image_shape[:2] != spec.image_size:
    raise UserError(f'images of {_by(data.image_shape)}, the model was trained with {_by(spec.image_size)}; expected '
                    'images of that size, or data.image_size')
  names = tuple(name for name in called if name in spec.trained)
  if not names:
    raise UserError(f'the data has channels {", ".join(data.channels)}, the model was trained with '
                    f'{", ".join(spec.trained)}: none fits')
  build.check_images(data, [name for name, model_name in zip(data.channels, called, strict=True)
                            if model_name in names])
  if not own and len(names) < len(called):
    log('channels that the model was not trained with are left out: '
        + ', '.join(name for name in called if name not in names))
  if not own and restored.config.data.normalization == 'data':
    used = [name in names for name in spec.channels.names]
    places = [called.index(name) if name in names else 0 for name in spec.channels.names]
    if odd := spec.channels.unlike(*(np.where(used, values[places], np.nan) for values in (data.mean, data.std))):
      log(odd)
  return FittingData(data, names, spec.channels.map_from([name if name in names else None for name in called]),
                     own)


def _by(shape: tuple[int, ...]) -> str:
  return f'{shape[0]}x{shape[1]}'


def _sized(config: RunConfig, own: DataOptions, spec: ModelSpec) -> RunConfig:
  """The configuration with other data than a run's own in the size of the model's images, as `predict` reads them."""
  height, width = spec.image_size
  if config.data == own or config.data.image_size or height != width:
    return config
  log(f'images are resized where their size is not that of the model, {_by(spec.image_size)}')
  return dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=height))


@dataclasses.dataclass(frozen=True)
class OpenRun:
  """A restored model on the devices, with data that fits it: everything needed to evaluate a run.

  Attributes:
    restored: the best checkpoint.
    fitting: the data.
    devices: devices that share each batch.
    variables: variables of the checkpoint, on every device.
  """

  restored: Restored
  fitting: FittingData
  devices: Devices
  variables: dict

  @property
  def config(self) -> RunConfig:
    """Of the run, with the data that it is evaluated on."""
    return self.restored.config

  @property
  def data(self) -> CachedDataset:
    """The dataset cache."""
    return self.fitting.data

  def batches(self, split: str) -> OnDevice | OnHost:
    """The batches of a split."""
    return place_split(self.data.splits[split], self.devices, self.config.runtime.data_placement)

  def evaluator(self, model: nn.Module | None = None) -> Evaluator:
    """An evaluator of the restored model, or of another one that takes its inputs."""
    return Evaluator(model or self.restored.model, self.fitting.mapping, self.devices, self.config.train.batch_size)


def open_run(folder: RunFolder, config: RunConfig | None = None, only_own: bool = True) -> OpenRun:
  """Restores a run's best checkpoint and opens data for it; arguments and errors as `restore`, `open_fitting_data`."""
  restored, own = restore(folder, config), saved_config(folder).data
  if restored.config.data.normalization != own.normalization:
    log(f'data.normalization={restored.config.data.normalization} is not used: the model normalizes as in its training')
  fitting = open_fitting_data(restored, _sized(restored.config, own, restored.spec), only_own)
  devices = Devices(restored.config.runtime.devices)
  log(f'restored step {restored.step}')
  return OpenRun(restored, fitting, devices, devices.replicate(restored.variables))

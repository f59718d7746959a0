"""Builds the objects that a configuration describes, and checks what needs the data and the options together."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from mils_jax.channel_dropout import Masks
from mils_jax.channel_subsets import read_subsets, subset_masks
from mils_jax.channels import ChannelMapping, ChannelSpec, choose, split_names
from mils_jax.config import options_of
from mils_jax.data.augment import check_square
from mils_jax.data.cache.building import open_dataset
from mils_jax.data.cache.dataset import CachedDataset
from mils_jax.data.order import steps_per_epoch
from mils_jax.data.sources import open_configured
from mils_jax.data.sources.names import unnamed
from mils_jax.data.sources.source import SPLITS
from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.errors import UserError
from mils_jax.models import networks
from mils_jax.models.variables import abstract_variables
from mils_jax.progress import counted, log
from mils_jax.run_config import ModelOptions, RunConfig
from mils_jax.training.class_weights import class_weights
from mils_jax.training.plan import StepPlan, TrainingPlan
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.selection import BEST_BY, SUBSETS
from mils_jax.training.start_weights import check_network, check_start

# Mean and standard deviation of ImageNet's training images, as in the report's recipe, for values from 0 to 255.
IMAGENET_MEAN = {'R': 123.675, 'G': 116.28, 'B': 103.53}
IMAGENET_STD = {'R': 58.395, 'G': 57.12, 'B': 57.375}


def open_data(config: RunConfig, needed: Sequence[str] = ()) -> CachedDataset:
  """Opens the configured dataset, building its cache where there is none yet.

  Args:
    config: configuration of the run.
    needed: splits that must be there.
  """
  source = open_configured(config.data)
  if missing := [split for split in needed if split not in source.splits]:
    raise UserError(f'data.{missing[0]}_fraction=0: training needs a {missing[0]} split. Valid: above 0')
  data = open_dataset(source, config.runtime.cache_folder / 'datasets', config.data.skip_damaged)
  names = split_names(config.channels.names)
  if names and data.channels == unnamed(len(data.channels)):
    if len(data.channels) > len(names):
      raise UserError(f'the data has {len(data.channels)} channels without names, the model only the input channels '
                      f'{", ".join(names)}: name the channels by data.channel_names')
    data = dataclasses.replace(data, channels=names[:len(data.channels)])
    log(f'the channels have no names and fill the first input channels: {", ".join(data.channels)}')
  return data


def check_images(data: CachedDataset, used: Sequence[str]) -> None:
  """Raises UserError where a used channel has non-finite values, or an image has none of the used channels."""
  bad = [f'{split}: {counts[channel]} in {name}, first in {first[channel]}'
         for split, (counts, first) in data.nonfinite.items() for channel, name in enumerate(data.channels)
         if name in used and counts[channel]]
  if bad:
    raise UserError(f'non-finite values ({"; ".join(bad)}); expected finite numbers only. data.nodata=nan takes NaN '
                    'for pixels without data, channels.use leaves channels out')
  columns = [channel for channel, name in enumerate(data.channels) if name in used]
  for name, split in data.splits.items():
    lacking = np.flatnonzero(~split.present[:, columns].any(1)) if split.present is not None else np.array([], int)
    if len(lacking):
      raise UserError(f'{name}: {counted(len(lacking), "image has", "images have")} none of the channels '
                      f'{", ".join(used)}, first {split.example_ids[lacking[0]]}; expected at least one in each')


def input_channels(config: RunConfig, data_channels: tuple[str, ...]) -> tuple[str, ...]:
  """The names of the model's input channels; the data's where the configuration names none."""
  names = split_names(config.channels.names) or data_channels
  twice = [name for name in names if names.count(name) > 1]
  if twice or '' in names:
    raise UserError(f"channels.names='{config.channels.names}': each input channel needs a name of its own")
  return names


def used_channels(config: RunConfig, data: CachedDataset) -> tuple[str, ...]:
  """The channels that the run uses, in the data's order: those that it names, else all that the model has.

  Raises:
    UserError: a name is unknown or given twice, or the model has none of the channels.
  """
  names = input_channels(config, data.channels)
  if config.channels.use:
    used = choose(config.channels.use, data.channels)
    without = [name for name in used if name not in names]
    if without:
      raise UserError(f"channels.use: '{without[0]}' is no input channel of the model. Valid: {', '.join(names)}")
    return tuple(name for name in data.channels if name in used)
  used = tuple(name for name in data.channels if name in names)
  if not used:
    raise UserError(f'the data has channels {", ".join(data.channels)}, the model {", ".join(names)}: none fits')
  return used


def channel_spec(config: RunConfig, data: CachedDataset) -> ChannelSpec:
  """The input channels with unit, mean and std. One that the data lacks has mean 0 and std 1."""
  names = input_channels(config, data.channels)

  def of_inputs(values: Sequence, missing: Any = 0.0) -> tuple:
    by_name = dict(zip(data.channels, values, strict=True))
    return tuple(by_name.get(name, missing) for name in names)

  means, stds = of_inputs(data.mean.tolist()), of_inputs(data.std.tolist(), 1.0)
  if config.data.normalization == 'imagenet':
    if not set(names) <= IMAGENET_MEAN.keys():
      raise UserError(f'data.normalization=imagenet knows R, G and B, not {", ".join(names)}. Valid: data, imagenet')
    means, stds = (tuple(values[name] for name in names) for values in (IMAGENET_MEAN, IMAGENET_STD))
  low, high = (of_inputs(np.where(np.isfinite(values), values, 0.0).tolist()) for values in (data.low, data.high))
  return ChannelSpec(names, of_inputs(data.units, ''), means, stds, low, high, of_inputs(data.fill.tolist()))


def check_normalization(config: RunConfig, data: CachedDataset, used: Sequence[str]) -> None:
  """Raises UserError where ImageNet's statistics are requested for values outside 0 to 255."""
  if config.data.normalization != 'imagenet':
    return
  positions = [data.channels.index(name) for name in used]
  least, most = np.nanmin(data.low[positions]), np.nanmax(data.high[positions])
  if least < 0 or most > 255 or 0 < most <= 1:
    raise UserError(f'data.normalization=imagenet is for values from 0 to 255; here they are {least:g} to {most:g}. '
                    'Valid here: data')


def build_model(options: ModelOptions, precision: str, platform: str, in_channels: int, classes: int,
                image_size: tuple[int, int]) -> nn.Module:
  """The configured network.

  Args:
    options: the network's name and its own options.
    precision: precision of the computation, as in TrainOptions.
    platform: what it runs on: 'cpu', 'gpu' or 'tpu'.
    in_channels: number of input channels.
    classes: number of classes of the data; used where model.num_classes is 0.
    image_size: height and width of the images.

  Raises:
    UserError: the network cannot be built with these options for such images.
  """
  network, dtype = networks()[options.name], compute_dtype(precision, platform)
  fields = {name: getattr(options, name) for name in options_of(network)}
  model = network(num_classes=options.num_classes or classes, in_channels=in_channels, dtype=dtype, axis_name=AXIS,
                  implementation=platform, **fields)
  try:
    abstract_variables(model, image_size)
  except (TypeError, ValueError, ZeroDivisionError) as error:
    raise UserError(f'the model cannot be built: {str(error).splitlines()[0]}') from error
  return model


def compute_dtype(precision: str, platform: str) -> jnp.dtype:
  """float32, or bfloat16 where it is requested or, with 'auto', where the hardware is made for it."""
  if precision == 'auto':
    precision = 'float32' if platform == 'cpu' else 'bfloat16'
  return jnp.dtype(precision)


def check_labels(config: RunConfig, data: CachedDataset) -> None:
  """Raises UserError where the data has a class or a label that the model has no logit for."""
  limit = config.model.num_classes
  highest = max(int(split.labels.max()) for split in data.splits.values())
  if limit and highest >= limit:
    raise UserError(f'model.num_classes={limit}, but the data has label {highest}: at least {highest + 1} are needed '
                    "(0: the data's own number)")
  if limit and len(data.classes) > limit:
    raise UserError(f'model.num_classes={limit}, but the data names {len(data.classes)} classes, although not all '
                    "occur: at least as many are needed (0: the data's own number)")


def with_classes(classes: tuple[str, ...], data: CachedDataset) -> CachedDataset:
  """The data with the classes that a model was trained on; labels are matched by class name.

  Raises:
    UserError: the data has a class that the model was not trained on.
  """
  if classes == data.classes:
    return data
  if others := [name for name in data.classes if name not in classes]:
    raise UserError(f'the data has classes that the model was not trained on: {", ".join(others)}. Valid: '
                    + ', '.join(classes))
  log("labels are matched by class name (the model's classes differ in order or number): "
      + ', '.join(classes))
  labels = np.array([classes.index(name) for name in data.classes], np.int32)
  return dataclasses.replace(data, classes=classes, splits={
      name: dataclasses.replace(split, labels=labels[split.labels]) for name, split in data.splits.items()})


def model_schedules(config: RunConfig, steps_per_epoch: int) -> Mapping[str, optax.Schedule]:
  """The schedules of values that the model reads: the temperature of its attention, if it has any."""
  if 'temperature' not in options_of(type(config.model)):
    return {}
  return {'temperature': config.attention.schedule(config.model.temperature, steps_per_epoch)}


def build_devices(config: RunConfig) -> Devices:
  devices = Devices(config.runtime.devices)
  devices.check_batch_size(config.train.batch_size)
  share = config.train.batch_size // devices.count
  if share % config.train.accumulation:
    raise UserError(f'train.accumulation={config.train.accumulation}: does not divide the {share} images that a device '
                    f'has of each batch (train.batch_size={config.train.batch_size})')
  return devices


def step_plan(config: RunConfig, model: nn.Module, mapping: ChannelMapping, steps_per_epoch: int,
              weights: tuple[float, ...] = (), subsets: Masks = ()) -> tuple[StepPlan, optax.Schedule]:
  """The parts of a training step, and its learning rate; nothing else builds either.

  Args:
    config: configuration of the run.
    model: the network.
    mapping: mapping of the data's channels to its input channels.
    steps_per_epoch: number of steps in an epoch of the training split.
    weights: weights of the classes in the loss; empty: all alike.
    subsets: subsets of the input channels, which channel dropout prefers.
  """
  train = config.train.in_epochs(steps_per_epoch)
  learning_rate = config.optimizer.schedule(train.epochs, steps_per_epoch, config.train.steps > 0)
  plan = StepPlan(model, mapping, train, config.optimizer.create(learning_rate), steps_per_epoch, config.augment,
                  config.channel_dropout, model_schedules(config, steps_per_epoch), weights,
                  config.optimizer.frozen, subsets)
  return plan, learning_rate


def build_plan(config: RunConfig, folder: RunFolder) -> TrainingPlan:
  """Everything that training needs; raises UserError for what does not fit together, before any work is lost."""
  devices = build_devices(config)
  if config.augment.mixes and config.train.batch_size // devices.count % 2:
    raise UserError(f'train.batch_size={config.train.batch_size}: each device needs an even share, because MixUp and '
                    'CutMix mix pairs of images')
  resumed = folder.checkpoints.is_dir()
  starts = '' if resumed else config.train.init_from  # a resumed run does not need it again
  if starts:
    check_start(starts)
  data = open_data(config, needed=SPLITS)
  height, width, _ = data.image_shape
  if config.augment.rot90:
    check_square(height, width)
  check_labels(config, data)
  used = used_channels(config, data)
  check_images(data, used)
  if not resumed:
    check_normalization(config, data, used)
  if config.augment.mixes and any(split.present is not None for split in data.splits.values()):
    raise UserError('augment.mixup_alpha and augment.cutmix_alpha: some images lack channels that others have, and '
                    'such pairs cannot be mixed. Valid here: 0')
  if config.channel_dropout.method != 'none' and len(used) < 2:
    raise UserError(f'channel_dropout.method={config.channel_dropout.method}: the run is given one channel, '
                    f'{", ".join(used)}; channel dropout needs two. Valid here: none')
  if config.channel_dropout.method == 'none' and config.train.best_by == SUBSETS:
    raise UserError(f'train.best_by={SUBSETS} needs channel dropout (channel_dropout.method). Valid without: '
                    + ', '.join(BEST_BY))
  channels = channel_spec(config, data)
  model = build_model(config.model, config.train.precision, devices.platform, len(channels.names), len(data.classes),
                      (height, width))
  if starts:
    check_network(starts, model)
  variables = abstract_variables(model, (height, width))
  config.optimizer.check_frozen(variables['params'], variables.get('batch_stats', {}))
  labels = np.asarray(data.splits['train'].labels)
  mapping = channels.map_from([name if name in used else None for name in data.channels])
  step, learning_rate = step_plan(config, model, mapping,
                                  steps_per_epoch(len(labels), config.train.batch_size),
                                  class_weights(config.train.class_weights, data.classes, labels, model.num_classes),
                                  subset_masks(read_subsets(config.channel_dropout.subsets, used), channels.names))
  return TrainingPlan(folder, data, devices, step, learning_rate,
                      ModelSpec(channels, data.classes, (height, width), data.fingerprint, used, data.channels,
                                data.content, data.stated_channels),
                      config.checkpoint, config.runtime)

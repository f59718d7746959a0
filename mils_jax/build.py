"""From a configuration to objects: the one place where a config is read, checked and turned into what it names."""

import dataclasses
import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from mils_jax.channels import ChannelDropout, ChannelMapping, ChannelSpec, choose, split_names
from mils_jax.data.augment import Augmentation
from mils_jax.data.cache.building import CachedDataset, open_dataset
from mils_jax.data.loader import PLACEMENTS, steps_per_epoch
from mils_jax.data.sources import open_source
from mils_jax.data.sources.names import unnamed
from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.errors import UserError, unknown
from mils_jax.models import MODELS
from mils_jax.progress import log
from mils_jax.training.cadence import Cadence
from mils_jax.training.optim import OPTIMIZERS, cosine_schedule, create_optimizer
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.trainer import TrainingPlan

# Mean and deviation of ImageNet's training images, as in the report's recipe, for values from 0 to 255.
IMAGENET_MEAN = {'R': 123.675, 'G': 116.28, 'B': 103.53}
IMAGENET_STD = {'R': 58.395, 'G': 57.12, 'B': 57.375}
NORMALIZATIONS = ('data', 'imagenet')
ANNEALINGS = ('constant', 'linear', 'cosine')
ON_NONFINITE = ('stop', 'skip')
SET_BY_PROGRAM = ('input_channels', 'implementation', 'dtype', 'axis_name', 'parent', 'name')  # fields that no configuration sets
PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def cache_folder(config: ConfigDict) -> Path:
  """Where dataset caches and compiled programs lie between runs."""
  if config.runtime.cache:
    return Path(config.runtime.cache)
  return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mils_jax'


def open_data(config: ConfigDict, allow_nonfinite: bool = False) -> CachedDataset:
  """The configured set, packed now where it was not yet; refused if values are non-finite, unless allowed."""
  options = {key: value for key, value in config.data.items() if key not in ('source', 'normalization')}
  data = open_dataset(open_source(config.data.source, **options), cache_folder(config) / 'packed', allow_nonfinite)
  input_channels = split_names(config.channels.names)
  if input_channels and data.channels == unnamed(len(data.channels)):
    if len(data.channels) > len(input_channels):
      raise UserError(f'the data has {len(data.channels)} channels without names, the model only the input channels '
                      f'{", ".join(input_channels)}: name the channels by data.channel_names')
    data = dataclasses.replace(data, channels=input_channels[:len(data.channels)])
    log(f'the channels have no names and fill the first input channels: {", ".join(data.channels)}')
  return data


def used_channels(config: ConfigDict, data: CachedDataset) -> tuple[str, ...]:
  """The channels that the run is given, in the data's order: those that it names, else all that the model has.

  Raises:
    UserError: a name is unknown or twice there, or the model has none of the channels.
  """
  input_channels = input_channel_names(config, data.channels)
  if config.channels.use:
    names = choose(config.channels.use, data.channels)
    without = [name for name in names if name not in input_channels]
    if without:
      raise UserError(f"channels.use: '{without[0]}' is no input channel of the model. Input channels: {', '.join(input_channels)}")
    return tuple(name for name in data.channels if name in names)
  names = tuple(name for name in data.channels if name in input_channels)
  if not names:
    raise UserError(f'the data has channels {", ".join(data.channels)}, the model {", ".join(input_channels)}: '
                    'none fits')
  return names


def input_channel_names(config: ConfigDict, data_channels: tuple[str, ...]) -> tuple[str, ...]:
  """The names of the model's input channels; the data's channels where the configuration names none."""
  names = split_names(config.channels.names) or data_channels
  twice = [name for name in names if names.count(name) > 1]
  if twice or '' in names:
    raise UserError(f"channels.names='{config.channels.names}': each channel needs a name of its own")
  return names


def channel_spec(config: ConfigDict, data: CachedDataset) -> ChannelSpec:
  """The input channels with their units, means and deviations. A channel that the data lacks has mean 0 and deviation 1."""
  input_channels = input_channel_names(config, data.channels)
  if config.data.normalization == 'imagenet':
    if not set(input_channels) <= IMAGENET_MEAN.keys():
      raise UserError(f'data.normalization=imagenet knows R, G and B, not {", ".join(input_channels)}. Valid: data, imagenet')
    means, deviations = IMAGENET_MEAN, IMAGENET_STD
  else:
    means = dict(zip(data.channels, map(float, data.mean), strict=True))
    deviations = dict(zip(data.channels, map(float, data.std), strict=True))
  units = dict(zip(data.channels, data.units, strict=True))
  return ChannelSpec(input_channels, tuple(units.get(channel, '') for channel in input_channels),
                         tuple(means.get(channel, 0.0) for channel in input_channels),
                         tuple(deviations.get(channel, 1.0) for channel in input_channels))


def mapping(config: ConfigDict, data: CachedDataset, spec: ChannelSpec) -> ChannelMapping:
  """Where the used ones among the data's channels go; the others are missing."""
  used = used_channels(config, data)
  return spec.place([name if name in used else None for name in data.channels])


def build_model(config: ConfigDict, input_channels: int, classes: int, image_size: tuple[int, int]) -> nn.Module:
  """The configured network.

  Args:
    config: its `model` holds a name and that network's own fields.
    input_channels: input channels.
    classes: of the data; taken where model.num_classes is 0.
    image_size: height and width of the images.

  Raises:
    UserError: there is no such network, it has no such field, or a field's value is none that it can take.
  """
  fields = dict(config.model)
  name = fields.pop('name')
  own = [field.name for field in dataclasses.fields(MODELS[name]) if field.name not in SET_BY_PROGRAM]
  for field, value in fields.items():
    if field not in own:
      raise unknown(f'field of {name}', f'model.{field}', [f'model.{own_field}' for own_field in own])
    if isinstance(value, tuple) and not all(isinstance(number, int) for number in value):
      raise UserError(f"model.{field}={','.join(map(str, value))}: expected whole numbers in brackets, such as "
                      f"--config.model.{field}='(2, 2, 2, 2)'")
  if fields['num_classes'] < 0:
    raise UserError(f"model.num_classes={fields['num_classes']}: must be positive, or 0 for the data's")
  fields['num_classes'] = fields['num_classes'] or classes
  model = MODELS[name](in_channels=input_channels, dtype=compute_dtype(config), axis_name=AXIS, **fields)
  try:
    jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *image_size, input_channels)), train=False))
  except (TypeError, ValueError, ZeroDivisionError) as error:
    raise UserError(f'the model cannot be built: {str(error).splitlines()[0]}') from error
  return model


def compute_dtype(config: ConfigDict) -> jnp.dtype:
  """float32, or bfloat16 where it is asked for or, with 'auto', where the hardware is made for it."""
  precision = config.train.precision
  if precision == 'auto':
    return jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16
  if precision not in PRECISIONS:
    raise unknown('train.precision', precision, ('auto', *PRECISIONS))
  return PRECISIONS[precision]


def check_labels(config: ConfigDict, data: CachedDataset) -> None:
  """Raises UserError where the data has a label that the model has no logit for."""
  limit = config.model.num_classes
  highest = max(int(split.labels.max()) for split in data.splits.values())
  if limit and highest >= limit:
    raise UserError(f'model.num_classes={limit}, but the data has label {highest}: at least {highest + 1} are needed '
                    "(0: the data's own number)")


def check_classes(classes: tuple[str, ...], data: CachedDataset) -> None:
  """Raises UserError where the data's classes are not those that a model was trained on."""
  if classes != data.classes:
    different = ', '.join(sorted(set(classes) ^ set(data.classes))) or 'the same in another order'
    raise UserError(f'the data has other classes than the model was trained on: {different}')


def check_values(config: ConfigDict) -> None:
  """Raises UserError for values out of range, before any work is done."""
  if config.train.epochs < 1:
    raise UserError(f'train.epochs={config.train.epochs}: must be at least 1')
  if not 0 <= config.train.label_smoothing < 1:
    raise UserError(f'train.label_smoothing={config.train.label_smoothing}: must be at least 0 and below 1')
  if config.train.seed < 0:
    raise UserError(f'train.seed={config.train.seed}: must be at least 0')
  for name in ('learning_rate', 'weight_decay'):
    if not 0 <= config.optimizer[name] < math.inf:
      raise UserError(f'optimizer.{name}={config.optimizer[name]}: must be at least 0 and finite')
  if not 0 <= config.optimizer.momentum < 1:
    raise UserError(f'optimizer.momentum={config.optimizer.momentum}: must be at least 0 and below 1')
  if config.optimizer.name not in OPTIMIZERS:
    raise unknown('optimizer.name', config.optimizer.name, OPTIMIZERS)
  if config.model.name not in MODELS:
    raise unknown('model', config.model.name, MODELS)
  if config.data.normalization not in NORMALIZATIONS:
    raise unknown('data.normalization', config.data.normalization, NORMALIZATIONS)
  compute_dtype(config)
  nonfinite_limit(config)
  if config.runtime.data_placement not in PLACEMENTS:
    raise unknown('runtime.data_placement', config.runtime.data_placement, PLACEMENTS)


def nonfinite_limit(config: ConfigDict) -> int:
  """How many steps that are non-finite a run may skip."""
  choice, limit = config.train.on_nonfinite, config.train.nonfinite_limit
  if choice not in ON_NONFINITE:
    raise unknown('train.on_nonfinite', choice, ON_NONFINITE)
  if limit < 1:
    raise UserError(f'train.nonfinite_limit={limit}: must be at least 1')
  return limit if choice == 'skip' else 0


def model_schedules(config: ConfigDict, steps_per_epoch: int) -> dict[str, optax.Schedule]:
  """The schedules of values that the model reads: the temperature of its attention, if it has any.

  The temperature goes from attention.start to model.temperature ("Dynamic Convolution", Chen et al., CVPR 2020).
  """
  if 'attention' not in config:
    return {}
  options, final = config.attention, config.model.temperature
  if options.annealing not in ANNEALINGS:
    raise unknown('attention.annealing', options.annealing, ANNEALINGS)
  if options.annealing == 'constant':
    return {'temperature': optax.constant_schedule(final)}
  if not (options.start > 0 and options.epochs > 0):
    raise UserError(f'attention.start={options.start}, attention.epochs={options.epochs}: both must be positive')
  steps = max(round(options.epochs * steps_per_epoch), 1)
  if options.annealing == 'linear':
    return {'temperature': optax.linear_schedule(options.start, final, steps)}
  descent = optax.cosine_decay_schedule(1.0, steps)
  return {'temperature': lambda step: final + (options.start - final) * descent(step)}


def channel_dropout(config: ConfigDict, used: tuple[str, ...]) -> ChannelDropout:
  """What the configuration says of sampling channels; raises UserError where there is nothing to sample from."""
  options = config.channels
  sampling = ChannelDropout(options.sampling, options.dropout_rate, options.dropout_per)
  if sampling.sampling != 'none' and len(used) < 2:
    raise UserError(f'channels.dropout={sampling.sampling}: the run is given one channel, {used[0]}; sampling needs '
                    'two. Valid here: none')
  return sampling


def build_devices(config: ConfigDict) -> Devices:
  devices = Devices(config.runtime.devices)
  devices.check_batch_size(config.train.batch_size)
  return devices


def build_plan(config: ConfigDict, folder: RunFolder) -> TrainingPlan:
  """Everything that training takes; raises UserError for what does not fit together, before any work is lost."""
  check_values(config)
  devices = build_devices(config)
  augmentation = Augmentation(**config.augment)
  if (augmentation.mixup_alpha or augmentation.cutmix_alpha) and config.train.batch_size // devices.count % 2:
    raise UserError(f'train.batch_size={config.train.batch_size}: each device needs an even share, because MixUp and '
                    'CutMix mix pairs of images')
  if config.train.init_from:
    RunFolder(Path(config.train.init_from)).read_config()
  data = open_data(config)
  height, width, _ = data.image_shape
  if augmentation.rot90 and height != width:
    raise UserError(f'augment.rot90: images are {height} x {width}; expected squares')
  check_labels(config, data)
  channels = channel_spec(config, data)
  model = build_model(config, len(channels.names), len(data.classes), data.image_shape[:2])
  steps = steps_per_epoch(len(data.splits['train']), config.train.batch_size)
  optimizer = config.optimizer
  schedule = cosine_schedule(optimizer.learning_rate, config.train.epochs, optimizer.warmup_epochs, steps,
                             optimizer.stepped_per_epoch)
  return TrainingPlan(
      folder=folder, data=data, devices=devices, model=model,
      optimizer=create_optimizer(optimizer.name, schedule, optimizer.momentum, optimizer.weight_decay,
                                 optimizer.decay_all),
      schedule=schedule, mapping=mapping(config, data, channels), augmentation=augmentation,
      sampling=channel_dropout(config, used_channels(config, data)), model_schedules=model_schedules(config, steps),
      spec=ModelSpec(channels, data.classes, data.image_shape[:2], data.fingerprint,
                        used_channels(config, data)),
      data_placement=config.runtime.data_placement, epochs=config.train.epochs, batch_size=config.train.batch_size,
      seed=config.train.seed,
      label_smoothing=config.train.label_smoothing, cadence=Cadence(**config.checkpoint),
      nonfinite_limit=nonfinite_limit(config), init_from=config.train.init_from)

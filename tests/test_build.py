import math
from types import SimpleNamespace

import numpy as np
import pytest

from configs import resnet34, task_a, task_b
from mils_jax.build import (
  IMAGENET_MEAN,
  IMAGENET_STD,
  channel_spec,
  check_labels,
  check_normalization,
  compute_dtype,
  model_schedules,
  used_channels,
)
from mils_jax.data.augment import Augmentation
from mils_jax.errors import UserError
from mils_jax.run_config import RunConfig
from mils_jax.training.optim import OptimizerOptions
from mils_jax.training.plan import TrainOptions


def temperatures(steps, **options):
  config = task_a.get_config()
  config.model.temperature = 2.0
  config.attention.update({'start': 30.0, 'epochs': 4.0, **options})
  schedule = model_schedules(RunConfig.read(config), steps_per_epoch=5)['temperature']
  return [float(schedule(step)) for step in steps]


def test_the_temperature_is_annealed_over_the_epochs_that_are_given_and_stays():
  steps = [0, 5, 10, 20, 1000]  # of 20
  assert temperatures(steps, annealing='constant') == [2.0] * 5
  assert temperatures(steps, annealing='linear') == pytest.approx([30.0, 23.0, 16.0, 2.0, 2.0])
  assert temperatures([0, 1000], annealing='linear', epochs=1e300) == pytest.approx([30.0, 30.0], rel=1e-4)
  cosine = [2 + 28 * (1 + math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 1, 1)]
  assert temperatures(steps, annealing='cosine') == pytest.approx(cosine)


def test_a_model_has_a_logit_for_every_class_that_is_named_and_every_label():
  config = task_b.get_config()
  data = SimpleNamespace(classes=('a', 'b', 'c'), splits={'train': SimpleNamespace(labels=np.array([0, 1]))})
  for number, message in ((2, 'the data names 3 classes'), (1, 'the data has label 1')):
    config.model.num_classes = number
    with pytest.raises(UserError, match=f'model.num_classes={number}, but {message}'):
      check_labels(RunConfig.read(config), data)
  for number in (0, 3, 4):
    config.model.num_classes = number
    check_labels(RunConfig.read(config), data)


def test_a_network_without_attention_has_no_schedule():
  assert model_schedules(RunConfig.read(task_b.get_config()), 5) == {}


@pytest.mark.parametrize(('options', 'message'), [
    ({'annealing': 'exponential'}, "unknown attention.annealing 'exponential'. Valid: constant, linear, cosine"),
    ({'annealing': 'linear', 'epochs': 0.0}, 'attention.epochs=0.0'),
    ({'annealing': 'linear', 'start': -1.0}, 'attention.start=-1.0'),
])
def test_an_annealing_that_cannot_be_is_refused(options, message):
  config = task_a.get_config()
  config.attention.update(options)
  with pytest.raises(UserError, match=message):
    RunConfig.read(config)


@pytest.mark.parametrize('use', ['BG', 'GB'])
def test_channels_are_used_in_the_order_of_the_data(use):
  config = task_a.get_config()
  config.channels.update(use=use, names='B,G,R')
  assert used_channels(RunConfig.read(config), SimpleNamespace(channels=('R', 'G', 'B'))) == ('G', 'B')


def test_imagenets_statistics_are_those_of_the_report():
  """Of values from 0 to 255: 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 of 0 to 1."""
  assert [IMAGENET_MEAN[name] / 255 for name in 'RGB'] == pytest.approx([0.485, 0.456, 0.406], abs=1e-9)
  assert [IMAGENET_STD[name] / 255 for name in 'RGB'] == pytest.approx([0.229, 0.224, 0.225], abs=1e-9)


def data_of(channels, low=0, high=250):
  """What `channel_spec` asks a dataset for: of channel i the mean i + 1, the std i + 4, and so on."""
  places = np.arange(len(channels), dtype=float)
  return SimpleNamespace(channels=channels, mean=places + 1, std=places + 4, low=low + 0 * places,
                         high=high - places / 1000, fill=places + 2,
                         units=tuple(f'unit {channel}' for channel in channels))


def test_each_input_channel_has_the_statistics_of_its_name():
  config = task_a.get_config()
  config.channels.names = 'B,nir,R'
  spec = channel_spec(RunConfig.read(config), data_of(('R', 'G', 'B')))
  assert (spec.names, spec.mean, spec.std) == (('B', 'nir', 'R'), (3, 0, 1), (6, 1, 4))
  assert (spec.low, spec.high, spec.fill) == ((0, 0, 0), (249.998, 0, 250), (4, 0, 2))
  assert spec.units == ('unit B', '', 'unit R')
  config.channels.names = 'B,R,G'
  config.data.normalization = 'imagenet'
  spec = channel_spec(RunConfig.read(config), data_of(('R', 'G', 'B')))
  assert spec.mean == pytest.approx((103.53, 123.675, 116.28))
  assert spec.std == pytest.approx((57.375, 58.395, 57.12))


@pytest.mark.parametrize(('low', 'high'), [(0, 1), (0, 4000), (-20, 5)])
def test_imagenets_statistics_are_for_values_of_bytes(low, high):
  config = task_a.get_config()
  config.data.normalization = 'imagenet'
  beside = data_of(('R', 'G', 'B', 'nir'))
  beside.high[3] = 10_000  # a channel that the run is not given
  check_normalization(RunConfig.read(config), beside, ('R', 'G', 'B'))
  with pytest.raises(UserError, match=r'for values from 0 to 255; here they are .* to .*\. Valid here: data'):
    check_normalization(RunConfig.read(config), data_of(('R', 'G', 'B', 'nir'), low, high), ('R', 'B'))


@pytest.mark.parametrize(('platform', 'dtype'), [('cpu', 'float32'), ('gpu', 'bfloat16'), ('tpu', 'bfloat16')])
def test_the_precision_follows_the_platform_unless_it_is_given(platform, dtype):
  assert compute_dtype('auto', platform).name == dtype
  assert {compute_dtype(name, platform).name for name in ('float32', 'bfloat16')} == {'float32', 'bfloat16'}


def test_the_reports_recipe_is_its_own():
  """Each setting is stated: none is a default, which may change."""
  for task, batch_size, decay in ((task_a, 128, 5e-4), (task_b, 512, 5e-4), (resnet34, 1024, 1e-4)):
    config = RunConfig.read(task.get_config('mini_imagenet'))
    optimizer, train = config.optimizer, config.train
    assert (optimizer.name, optimizer.learning_rate, optimizer.momentum, optimizer.weight_decay) == (
        'sgd', 0.1, 0.9, decay)
    assert (optimizer.decay_all, optimizer.warmup_epochs, optimizer.stepped_per_epoch, optimizer.clip_norm) == (
        True, 0.0, True, 0.0)
    assert (train.epochs, train.batch_size, train.label_smoothing, train.ema_decay) == (100, batch_size, 0.1, 0.0)
    assert (config.data.image_size, config.data.normalization, config.model.num_classes) == (84, 'imagenet', 100)
    assert config.augment == Augmentation(crop_padding=4, horizontal_flip=True)


@pytest.mark.parametrize('task', [task_a, task_b, resnet34])
def test_the_strong_recipe_is_for_the_reports_data(task):
  report, strong = (RunConfig.read(task.get_config(variant)) for variant in ('mini_imagenet', 'mini_imagenet_strong'))
  assert (strong.data, strong.channels, strong.model) == (report.data, report.channels, report.model)
  assert strong.augment == Augmentation(horizontal_flip=True, resized_crop_min_area=0.35, cutmix_alpha=1.0)
  assert strong.optimizer == OptimizerOptions('adamw', 4e-3 if task is task_b else 1e-3, weight_decay=0.05,
                                              warmup_epochs=1.0)
  assert strong.train == TrainOptions(epochs=100, batch_size=128)

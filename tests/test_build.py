import math
from types import SimpleNamespace

import pytest

from configs import task_a, task_b
from mils_jax.build import model_schedules, used_channels
from mils_jax.errors import UserError
from mils_jax.run_config import RunConfig


def temperatures(steps, **options):
  config = task_a.get_config()
  config.model.temperature = 2.0
  config.attention.update(start=30.0, epochs=4.0, **options)
  schedule = model_schedules(RunConfig.read(config), steps_per_epoch=5)['temperature']
  return [float(schedule(step)) for step in steps]


def test_the_temperature_is_annealed_over_the_epochs_that_are_given_and_stays():
  steps = [0, 5, 10, 20, 1000]  # of 20
  assert temperatures(steps, annealing='constant') == [2.0] * 5
  assert temperatures(steps, annealing='linear') == pytest.approx([30.0, 23.0, 16.0, 2.0, 2.0])
  cosine = [2 + 28 * (1 + math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 1, 1)]
  assert temperatures(steps, annealing='cosine') == pytest.approx(cosine)


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

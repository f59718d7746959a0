"""Training steps of small networks, made without a configuration."""

import functools

import jax
import numpy as np
import optax

from mils_jax.channels import ChannelMapping
from mils_jax.training import state
from mils_jax.training.plan import StepPlan, TrainOptions


def unnormalised(channels):
  """Each channel where it is, as it is."""
  return ChannelMapping(np.arange(channels), np.zeros(channels, np.float32), np.ones(channels, np.float32))


def step_plan(model, mapping=None, optimizer=None, seed=3, on_nonfinite='stop', ema_decay=0.0, **parts):
  """What a step of a network is made of; by default plain SGD with momentum."""
  train = TrainOptions(seed=seed, on_nonfinite=on_nonfinite, ema_decay=ema_decay)
  return StepPlan(model, mapping or unnormalised(model.in_channels), train, optimizer or optax.sgd(0.05, 0.9),
                  **{'steps_per_epoch': 3, **parts})


def first_state(plan, image_size=(16, 16)):
  return state.first_state(plan, _variables(plan.model, plan.train.seed, (*image_size, len(plan.mapping.source))))


@functools.cache  # compiling it takes 1.4 and 2.9 s of CPU for the two networks of the tests of the step
def _variables(model, seed, image_shape):
  return jax.jit(lambda: state.initial_variables(model, seed, image_shape))()

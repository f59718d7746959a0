import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import any_channels, task_a, task_b
from mils_jax.build import build_plan
from mils_jax.data.order import BalancedOrder
from mils_jax.run import run_training
from mils_jax.run_config import RunConfig
from mils_jax.training import trainer as loop
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.signals import StopSignals
from mils_jax.training.train_step import make_train_step


@pytest.fixture
def counts(monkeypatch):
  """How often the step was traced and the weights were drawn."""
  found = {'traced': 0, 'drawn': 0}
  creator = loop.first_state_creator

  def counted_step(*arguments, **options):
    step = make_train_step(*arguments, **options)

    def train_step(state, batch):
      found['traced'] += 1
      return step(state, batch)

    return train_step

  def counted_creator(plan):
    def create():
      state = creator(plan)()
      found['drawn'] += not isinstance(state.step, jax.core.Tracer)  # else only its shapes are asked for
      return state

    return create

  monkeypatch.setattr(loop, 'make_train_step', counted_step)
  monkeypatch.setattr(loop, 'first_state_creator', counted_creator)
  return found


@pytest.mark.parametrize(('task', 'model'), [
    pytest.param(task_a, {'widths': (8, 8, 8), 'blocks': 1}, marks=pytest.mark.slow),
    (task_b, {'width': 16, 'stages': 2})])
def test_a_run_traces_its_step_once_and_a_resumed_one_draws_no_weights(task, model, counts, monkeypatch, tmp_path):
  config = task.get_config()
  config.model.update(model)
  config.data.shapes.update(num_train=50, num_val=16, num_test=16)
  config.train.update(epochs=2, batch_size=16)
  config.runtime.cache = str(tmp_path / 'cache')
  plan = build_plan(RunConfig.read(config), RunFolder(tmp_path / 'run'))

  def stop_after_first_epoch(*_):
    raise KeyboardInterrupt

  with StopSignals() as stop:
    with monkeypatch.context() as patch:
      patch.setattr(loop.Writers, 'write', stop_after_first_epoch)
      with pytest.raises(KeyboardInterrupt):
        loop.train(plan, stop)
    assert counts == {'traced': 1, 'drawn': 1}
    loop.train(plan, stop)
  assert counts == {'traced': 2, 'drawn': 1}


def tiny(task, tmp_path, **train):
  config = task.get_config()
  config.data.image_size = 16
  config.data.shapes.update(num_train=50, num_val=32, num_test=16)
  config.train.update(batch_size=16, **train)
  config.runtime.cache = str(tmp_path / 'cache')
  return config


def test_patience_ends_a_run_that_gets_no_better(tmp_path, capsys):
  config = tiny(task_b, tmp_path, epochs=9, patience=2)
  config.optimizer.learning_rate = 0.0
  config.model.update(width=8, stages=2)
  folder = RunFolder(tmp_path / 'run')
  results = run_training(RunConfig.read(config), folder, [])
  scores = [(line['val_accuracy'], -line['val_loss']) for line in folder.read_metrics()]  # only statistics still change
  best = 1 + scores.index(max(scores))
  assert (results['best_epoch'], results['epochs'], len(scores)) == (best, best + 2, best + 2)
  assert results['epochs'] < 9
  assert f'stopping: no epoch since {best} was better (train.patience=2)' in capsys.readouterr().out


def test_a_generalist_is_chosen_by_all_channels_and_by_dropped_ones_after_so_many_steps(tmp_path):
  config = tiny(any_channels, tmp_path, steps=10, ema_decay=0.5)
  config.model.update(widths=(8,), stem_width=8, blocks=1, num_kernels=1)
  folder = RunFolder(tmp_path / 'run')
  results = run_training(RunConfig.read(config), folder, [])
  lines = folder.read_metrics()
  assert len(lines) == results['epochs'] == 3  # of four steps
  scores = [((line['val_accuracy'] + line['val_dropped_accuracy']) / 2,
             -(line['val_loss'] + line['val_dropped_loss']) / 2) for line in lines]
  assert results['best_epoch'] == 1 + scores.index(max(scores))
  assert all(line['val_loss'] != line['val_dropped_loss'] for line in lines)


@pytest.mark.parametrize(('subsets', 'share'), [('', 1 / 9), ('R; G,B', 11 / 36)])
def test_half_of_the_validation_images_keep_a_named_subset(subsets, share, tmp_path):
  """The others, and all where none is named, as in training: each number of channels is as likely as the others."""
  config = tiny(any_channels, tmp_path, steps=1)
  config.data.shapes.num_val = 500  # a standard deviation of a share is 0.02 at most
  config.channel_dropout.subsets = subsets
  kept = loop.dropped_channels(build_plan(RunConfig.read(config), RunFolder(tmp_path / 'run')))
  for one in ((True, False, False), (False, True, True)):
    assert (kept == one).all(1).mean() == pytest.approx(share, abs=0.06)


def test_the_draws_of_validation_and_of_the_first_weights_are_pinned(tmp_path):
  """By their streams: a run's validation and beginning would change with the name of one."""
  config = tiny(any_channels, tmp_path, steps=1)
  config.train.seed = 5
  plan = build_plan(RunConfig.read(config), RunFolder(tmp_path / 'run'))
  kept = loop.dropped_channels(plan)
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), zlib.crc32(b'validation channels')), 0)
  present = jnp.ones((len(kept), 3), bool)
  expected = dataclasses.replace(plan.step.channel_dropout, per='sample')(key, present, jnp.arange(len(kept)))
  assert (kept == expected).all()
  assert 0 < kept.mean() < 1

  state = loop.first_state_creator(plan)()
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), zlib.crc32(b'initialise')), 0)
  drawn = plan.step.model.init(key, jnp.zeros((1, *plan.data.image_shape)), train=False)['params']
  for own, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(drawn), strict=True):
    assert own == pytest.approx(np.asarray(theirs), abs=1e-6)


def test_what_goes_to_a_device_unasked_within_an_epoch_ends_the_run(tmp_path, monkeypatch):
  """Such a transfer would make every step wait."""
  plan = build_plan(RunConfig.read(tiny(task_b, tmp_path, epochs=1)), RunFolder(tmp_path / 'run'))
  step = loop.parallel_step(plan)
  monkeypatch.setattr(loop, 'parallel_step', lambda _: lambda state, batch: step(
      state, {**batch, 'mask': jnp.sin(np.asarray(batch['mask']))}))
  with StopSignals() as stop, pytest.raises(Exception, match=r'[Dd]isallowed host-to-device transfer'):
    loop.train(plan, stop)


def test_a_generalist_that_is_stopped_within_an_epoch_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
  """Of all that is drawn, averaged and remembered, nothing is lost: in task_b's run (test_survival.py) most is off."""
  config = tiny(any_channels, tmp_path, steps=12, ema_decay=0.9, sampling='balanced', accumulation=2, patience=3)
  config.model.update(widths=(8,), stem_width=8, blocks=1)
  config.augment.crop_padding = 2
  config.channel_dropout.subsets = 'R,G; B'
  config.checkpoint.every_steps = 1
  whole, stopped = (RunFolder(tmp_path / name) for name in ('whole', 'stopped'))
  plans = [build_plan(RunConfig.read(config), folder) for folder in (whole, stopped)]
  save = loop.Trainer.save

  def save_and_stop(self, step, state):
    save(self, step, state)
    if step == 6:
      raise KeyboardInterrupt

  with StopSignals() as stop:
    outcome = loop.train(plans[0], stop)
    with monkeypatch.context() as patch:
      patch.setattr(loop.Trainer, 'save', save_and_stop)
      with pytest.raises(KeyboardInterrupt):
        loop.train(plans[1], stop)
    assert len(stopped.read_metrics()) == 1
    again = loop.train(plans[1], stop)
  assert stopped.read_metrics() == whole.read_metrics()
  assert (again.epochs, again.best_epoch) == (outcome.epochs, outcome.best_epoch) == (3, outcome.best_epoch)
  assert (again.test.logits == outcome.test.logits).all()


def test_what_is_asked_of_classes_and_modules_is_what_is_trained(tmp_path):
  config = tiny(task_b, tmp_path, epochs=1, sampling='balanced', class_weights='red disc=3')
  config.optimizer.freeze = 'stage1'
  plan = build_plan(RunConfig.read(config), RunFolder(tmp_path / 'run'))
  assert isinstance(loop.training_order(plan), BalancedOrder)
  assert plan.step.class_weights[plan.data.classes.index('red disc')] == 3
  assert sorted(set(plan.step.class_weights)) == [1, 3]
  assert plan.step.frozen == ('stage1',)

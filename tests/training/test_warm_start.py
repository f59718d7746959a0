"""Starting from another run's weights, where channels and classes differ."""

import jax
import numpy as np
import pytest

from mils_jax.channels import ChannelSpec
from mils_jax.errors import UserError
from mils_jax.models import DynamicResNet12, WideCNN
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import write_json
from mils_jax.training.warm_start import warm_start
from tests.plans import first_state, step_plan


def spec(in_channels, classes):
  number = len(in_channels)
  channels = ChannelSpec(in_channels, ('',) * number, (0.0,) * number, (1.0,) * number)
  return ModelSpec(channels, classes, (16, 16), 'data', in_channels)


def fresh(in_channels, classes, seed, model=None):
  model = model or WideCNN(len(classes), in_channels=len(in_channels), stages=2, width=8)
  return model, first_state(step_plan(model, seed=seed))


@pytest.fixture(scope='module')
def other(tmp_path_factory):
  folder = tmp_path_factory.mktemp('other')
  _, state = fresh(('R', 'G', 'B'), ('cat', 'dog'), 1)
  write_json(folder / 'config.json', {})
  with Checkpoints(folder / 'checkpoints') as checkpoints:
    checkpoints.save_best(4, state.variables, spec(('R', 'G', 'B'), ('cat', 'dog')), (0.5, -1.0))
  return folder, state


def test_the_same_channels_and_classes_take_all(other, capsys):
  folder, old = other
  model, new = fresh(('R', 'G', 'B'), ('cat', 'dog'), 2)
  started = warm_start(new, model, spec(('R', 'G', 'B'), ('cat', 'dog')), str(folder))
  jax.tree.map(np.testing.assert_array_equal, started.variables, old.variables)
  assert '0 arrays adapted, 0 arrays left fresh' in capsys.readouterr().out


def test_channels_and_classes_are_taken_by_name(other, capsys):
  folder, old = other
  model, new = fresh(('B', 'NIR', 'R'), ('dog', 'bird', 'cat'), 2)
  started = warm_start(new, model, spec(('B', 'NIR', 'R'), ('dog', 'bird', 'cat')), str(folder))
  before, drawn, after = (np.asarray(state.params['stage1']['conv']['kernel']) for state in (old, new, started))
  np.testing.assert_array_equal(after[..., 0, :], before[..., 2, :])  # B
  np.testing.assert_array_equal(after[..., 1, :], drawn[..., 1, :])  # NIR
  np.testing.assert_array_equal(after[..., 2, :], before[..., 0, :])  # R
  before, drawn, after = (np.asarray(state.params['classifier']['kernel']) for state in (old, new, started))
  np.testing.assert_array_equal(after, np.stack([before[:, 1], drawn[:, 1], before[:, 0]], axis=1))
  np.testing.assert_array_equal(started.params['stage2']['conv']['kernel'], old.params['stage2']['conv']['kernel'])
  lines = capsys.readouterr().out
  assert 'channels taken: B, R\n' in lines
  assert 'channels left fresh: NIR\n' in lines
  assert 'channels not needed: G\n' in lines
  assert 'classes left fresh: bird\n' in lines
  assert 'adapted: ' in lines


def test_a_model_that_nothing_fits_is_refused(other):
  model, new = fresh(('R', 'G', 'B'), ('cat', 'dog'), 2, DynamicResNet12(2, widths=(12, 12), stem_width=12, blocks=1))
  with pytest.raises(UserError, match='nothing of it fits'):
    warm_start(new, model, spec(('R', 'G', 'B'), ('bird', 'fish')), str(other[0]))


def test_a_folder_without_a_run_is_refused(tmp_path):
  model, new = fresh(('R',), ('cat', 'dog'), 2)
  with pytest.raises(UserError, match='no run folder'):
    warm_start(new, model, spec(('R',), ('cat', 'dog')), str(tmp_path / 'none'))
  assert not (tmp_path / 'none').exists()


def test_what_holds_several_values_for_each_channel_is_not_taken_for_other_channels(tmp_path):
  """A layer behind the embedding has 72 inputs of every channel: as many channels, but not the same ones."""
  network = WideCNN(2, in_channels=3, stages=2, width=8, conditioning='statistics')
  _, old = fresh(('R', 'G', 'B'), ('cat', 'dog'), 1, network)
  write_json(tmp_path / 'config.json', {})
  with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    checkpoints.save_best(4, old.variables, spec(('R', 'G', 'B'), ('cat', 'dog')), (0.5, -1.0))
  for names, taken in ((('R', 'G', 'B'), True), (('B', 'G', 'R'), False)):
    model, new = fresh(names, ('cat', 'dog'), 2, network)
    started = warm_start(new, model, spec(names, ('cat', 'dog')), str(tmp_path))
    same = [np.array_equal(one.params['statistics']['hidden1']['kernel'], old.params['statistics']['hidden1']['kernel'])
            for one in (started, new)]
    assert same == [taken, False]
    np.testing.assert_array_equal(started.params['stage2']['conv']['kernel'], old.params['stage2']['conv']['kernel'])


def test_moments_of_pairs_of_channels_follow_the_names_of_both(tmp_path):
  network = WideCNN(2, in_channels=3, stages=2, width=8, imputation='linear')
  _, old = fresh(('R', 'G', 'B'), ('cat', 'dog'), 1, network)
  stored = jax.tree.map(lambda values: np.arange(values.size, dtype=np.float32).reshape(values.shape),
                          old.batch_stats['input'])
  write_json(tmp_path / 'config.json', {})
  with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    variables = {**old.variables, 'batch_stats': {**old.batch_stats, 'input': stored}}
    checkpoints.save_best(4, variables, spec(('R', 'G', 'B'), ('cat', 'dog')), (0.5, -1.0))
  model, new = fresh(('B', 'N', 'R', 'G'), ('cat', 'dog'), 2, network.clone(in_channels=4))
  started = warm_start(new, model, spec(('B', 'N', 'R', 'G'), ('cat', 'dog')), str(tmp_path))
  found, before, drawn = (stats['linear'] for stats in (started.batch_stats['input'], stored,
                                                        new.batch_stats['input']))
  np.testing.assert_array_equal(found['mean'], [2, 0, 0, 1])
  for name in ('products', 'samples', 'covariance'):
    np.testing.assert_array_equal(found[name][np.ix_([2, 3, 0], [2, 3, 0])], before[name])
    np.testing.assert_array_equal(found[name][1], drawn[name][1])
    np.testing.assert_array_equal(found[name][:, 1], drawn[name][:, 1])


def test_averaged_weights_start_from_the_others_too(other):
  folder, old = other
  model, _ = fresh(('R', 'G', 'B'), ('cat', 'dog'), 2)
  new = first_state(step_plan(model, seed=2, ema_decay=0.9))
  started = warm_start(new, model, spec(('R', 'G', 'B'), ('cat', 'dog')), str(folder))
  jax.tree.map(np.testing.assert_array_equal, started.average, {'params': old.params, 'batch_stats': old.batch_stats})

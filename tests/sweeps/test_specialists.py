"""Which runs a sweep of specialists stands for."""

import numpy as np
import pytest

from configs.sweeps import generalist
from mils_jax.errors import UserError
from mils_jax.sweeps.sweep import build_plan, read_sweep


@pytest.fixture
def config(tmp_path):
  """On 96 images of R, G and B: three steps an epoch."""
  config = generalist.get_config()
  config.common.data.update(image_size=16)
  config.common.data.shapes.update(num_train=96, num_val=32, num_test=32)
  config.common.train.update(steps=10, batch_size=32)
  config.common.runtime.cache = str(tmp_path / 'cache')
  return config


def test_specialists_and_generalists_of_the_named_subsets_share_all_but_channels_and_length(config, tmp_path):
  config.specialists.update(subsets='R,G; B', seeds=(0, 3))
  sweep = read_sweep(config, tmp_path)
  assert [run.title for run in sweep.runs] == [
      'RG-seed0', 'RG-seed3', 'B-seed0', 'B-seed3', 'generalist-seed0', 'generalist-seed3', 'generalist-total-seed0',
      'generalist-total-seed3']
  first, *_, long = sweep.runs
  short = sweep.runs[4]
  assert first.config.channels.use == 'R,G'
  assert (first.config.channel_dropout.method, short.config.channel_dropout.method) == ('none', 'hierarchical')
  assert short.config.train.in_epochs(3).epochs == first.config.train.in_epochs(3).epochs == 4
  assert long.config.train.in_epochs(3).epochs == 2 * 4
  plans = [build_plan(run).step for run in (first, short, long)]  # each of them can be trained
  named = ((True, True, False), (False, False, True))
  assert [plan.subsets for plan in plans] == [(), named, named]
  for run in sweep.runs:
    assert run.config.model == first.config.model
    assert run.config.optimizer == first.config.optimizer
    assert run.config.train.batch_size == 32


def test_without_names_the_usual_subsets_of_the_data_are_taken(config, tmp_path):
  runs = read_sweep(config, tmp_path).runs
  assert [run.name for run in runs] == ['RGB', 'RG', 'RB', 'GB', 'R', 'G', 'B', 'generalist', 'generalist-total']
  assert all(run.config.channel_dropout.subsets == '' for run in runs)


def test_runs_of_many_channels_have_names_that_a_folder_can_have(config, tmp_path):
  bands = [f'band_{number:03}' for number in range(40)]
  np.savez(tmp_path / 'bands.npz', images=np.zeros((60, 4, 4, 40), np.uint8), labels=np.arange(60) % 2, channels=bands)
  config.common.data.update(source='arrays', path=str(tmp_path / 'bands.npz'))
  names = [run.title for run in read_sweep(config, tmp_path).runs]
  assert len(set(names)) == 40 + 40 + 1 + 2  # each alone, all but one, all, and the generalists
  assert max(map(len, names)) <= 200
  assert 'band_007-seed0' in names


@pytest.mark.parametrize(('fields', 'message'), [
    ({'subsets': 'R; nir'}, "the subset 'nir' names 'nir', which is no channel here. Valid: R, G, B"),
    ({'groups': 'red,G'}, "the subset 'red,G' names 'red', which is no channel here. Valid: R, G, B"),
    ({'seeds': 0}, 'specialists.seeds=0: expected several, as (0, 1, 2), or one, as (0,)'),
    ({'subsets': 'R'}, 'specialists for one subset, R: expected two or more')], ids=str)
def test_what_cannot_be_compared_is_refused(config, fields, message, tmp_path):
  with config.ignore_type():
    config.specialists.update(fields)
  with pytest.raises(UserError) as error:
    read_sweep(config, tmp_path)
  assert str(error.value) == message


def test_a_section_that_lacks_a_field_names_it(config, tmp_path):
  del config.specialists['groups']
  with pytest.raises(UserError, match=r'has no groups\. Expected generalist, subsets, groups, seeds'):
    read_sweep(config, tmp_path)

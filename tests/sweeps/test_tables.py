"""What the kinds of table ask of a sweep's runs, before training and after it."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import task_a
from mils_jax.errors import RunError, UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.report.write import TABLES as SECTIONS
from mils_jax.sweeps import tables
from mils_jax.sweeps.sweep import read_sweep
from mils_jax.sweeps.tables import TABLES, finished, prepare_table

DYNAMIC = task_a.get_config()
GENERALIST = {'channel_dropout.method': 'hierarchical'}


def make(folder, table, runs, unfinished=()):
  sweep = read_sweep(ConfigDict({'name': 'made', 'table': table, 'common': {}, 'runs': runs}), folder)
  for run in sweep.runs:
    if run.name not in unfinished:
      run.folder.path.mkdir(parents=True)
      channels = list(run.config.channels.use or 'RGB')
      run.folder.results.write_text(json.dumps({'channels': channels}))
      Predictions(np.array(['a']), np.zeros(1, np.int32), np.ones((1, 2), np.float32)).save(run.folder.predictions)
  return sweep


@pytest.fixture
def evaluated(monkeypatch):
  """Which runs are evaluated on which subsets."""
  found = {}
  monkeypatch.setattr(tables, 'evaluate_subsets', lambda folder, subsets: found.update({folder.path.name: subsets}))
  return found


def test_generalists_are_evaluated_on_the_channels_of_the_finished_specialists(evaluated, tmp_path):
  sweep = make(tmp_path, 'specialists', (
      ('RG', DYNAMIC, {'channels.use': 'RG'}, (0, 1)), ('B', DYNAMIC, {'channels.use': 'B'}, (0,)),
      ('G', DYNAMIC, {'channels.use': 'G'}, (0,)), ('all', DYNAMIC, GENERALIST, (0, 1))), unfinished=('G',))
  assert len(finished(sweep)) == 5
  prepare_table(sweep)
  subsets = [('R', 'G'), ('B',)]
  assert evaluated == {'all-seed0': subsets, 'all-seed1': subsets}


def test_every_run_of_an_ablation_is_evaluated_on_its_own_choice_and_no_other_kind_of_run(evaluated, tmp_path):
  runs = (('a', DYNAMIC, {}, (0,)), ('b', DYNAMIC, GENERALIST, (3,)))
  prepare_table(make(tmp_path / 'models', 'models', runs))
  assert evaluated == {}
  prepare_table(make(tmp_path / 'ablation', 'ablation', runs))
  assert evaluated == {'a-seed0': None, 'b-seed3': None}


def test_runs_that_cannot_make_the_table_are_refused_before_training(tmp_path):
  runs = (('a', DYNAMIC, {'channels.use': 'R'}, (0,)), ('b', DYNAMIC, {}, (0,)))
  with pytest.raises(UserError, match='needs a generalist'):
    TABLES['specialists'].check(make(tmp_path / '1', 'specialists', runs))
  with pytest.raises(UserError, match=r'same channels\.use; here are '):
    TABLES['ablation'].check(make(tmp_path / '2', 'ablation', runs))
  with pytest.raises(UserError, match='needs a specialist'):
    TABLES['specialists'].check(make(tmp_path / '3', 'specialists', (('a', DYNAMIC, GENERALIST, (0,)),)))


def test_predictions_that_cannot_be_read_end_the_sweep_with_what_mends_it(tmp_path):
  sweep = make(tmp_path, 'models', (('a', DYNAMIC, {}, (0,)),))
  sweep.runs[0].folder.predictions.write_bytes(b'')
  with pytest.raises(RunError, match=r'cannot be read: .* Delete .*results\.json and run the sweep again'):
    prepare_table(sweep)


def test_every_kind_of_table_has_a_section():
  assert TABLES.keys() == SECTIONS.keys()

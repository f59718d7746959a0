"""Checkpoints that are whole, damaged in every way, or of another configuration."""

import dataclasses
import json
import logging
import math
import shutil
import sys
import zlib

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.experimental.layout import Format, Layout
from jax.sharding import SingleDeviceSharding

from mils_jax.channels import ChannelSpec
from mils_jax.data.sources.source import OWN, Statement
from mils_jax.errors import RunError, UserError
from mils_jax.models import WideCNN
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.quiet import LOGGERS
from mils_jax.training.record import ModelSpec, Record
from tests.plans import first_state, step_plan

SPEC = ModelSpec(ChannelSpec(('R', 'G'), ('', 'm'), (0.5, 1.0), (1.0, 2.0)), ('a', 'b'), (8, 8), 'data',
                    ('R',))


def test_a_run_resumes_on_what_it_was_made_for():
  def changed(**values):
    return dataclasses.replace(SPEC, channels=dataclasses.replace(SPEC.channels, **values))

  same = dataclasses.replace(SPEC, data_content='x')
  assert same.was_made_for(dataclasses.replace(same, data_fingerprint='a copy elsewhere', stated_channels=Statement()))
  for other in (changed(names=('R', 'B')), changed(units=('m', 'm')), changed(mean=(0.5, 1.5)), changed(std=(1.0, 3.0)),
                dataclasses.replace(SPEC, classes=('b', 'a')), dataclasses.replace(SPEC, image_size=(8, 9)),
                dataclasses.replace(SPEC, trained=('G',)), dataclasses.replace(SPEC, data_fingerprint='other')):
    assert not SPEC.was_made_for(other)
  assert not same.was_made_for(dataclasses.replace(same, data_content='y'))


@pytest.mark.parametrize('stated', [None, Statement(), Statement(OWN, ('B04', 'B03'))])
def test_the_training_files_names_of_channels_are_kept(stated):
  spec = dataclasses.replace(SPEC, stated_channels=stated)
  assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == dataclasses.replace(
      spec, data_channels=())


def make_state(width=32):
  model = WideCNN(2, in_channels=2, stages=2, width=width)
  return first_state(step_plan(model, seed=0), (8, 8))


FIRST = make_state()
STATES = {step: jax.tree.map(lambda x, step=step: x + step, FIRST) for step in (3, 5, 8)}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run') / 'checkpoints'
  with Checkpoints(folder) as checkpoints:
    for step, state in STATES.items():
      checkpoints.save(step, state, SPEC)
  return folder


@pytest.fixture
def folder(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / 'checkpoints')


def restore(folder, like=None):
  with Checkpoints(folder) as checkpoints:
    return checkpoints.restore_latest(FIRST if like is None else like)


def assert_equal(state, expected):
  jax.tree.map(np.testing.assert_array_equal, state, expected)


def arrays_of(step_folder):
  """The file that holds the largest arrays."""
  return max((path for path in step_folder.rglob('d/*') if path.is_file()), key=lambda path: path.stat().st_size)


def empty(step_folder):
  shutil.rmtree(step_folder)
  step_folder.mkdir()


def drop_manifests(step_folder):
  for path in step_folder.rglob('manifest.ocdbt'):
    path.unlink()


def truncate(step_folder):
  path = arrays_of(step_folder / 'variables')
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def flip_a_byte_of_an_array(step_folder):
  flip(arrays_of(step_folder / 'variables'))


def flip_a_byte_of_the_record(step_folder):
  flip(step_folder / 'record' / 'metadata')


def garbage_metadata(step_folder):
  for path in (*step_folder.rglob('_METADATA'), *step_folder.rglob('_CHECKPOINT_METADATA')):
    path.write_bytes(b'\x00\xffgarbage')


def half_written(step_folder):
  for part in ('progress', 'record'):
    shutil.rmtree(step_folder / part)


DAMAGES = (empty, drop_manifests, truncate, flip_a_byte_of_an_array, flip_a_byte_of_the_record, garbage_metadata,
           half_written)


def test_the_latest_two_are_kept_and_restored_exactly(saved):
  assert sorted(path.name for path in (saved / 'latest').iterdir()) == ['5', '8']
  state, skipped = restore(saved)
  assert skipped == []
  assert_equal(state, STATES[8])


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(damage, folder):
  damage(folder / 'latest' / '8')
  state, skipped = restore(folder)
  assert_equal(state, STATES[5])
  assert len(skipped) == 1
  assert skipped[0].startswith('the checkpoint of step 8 is damaged: ')
  assert str(folder / 'damaged' / '8') in skipped[0]
  if damage is flip_a_byte_of_an_array:  # which Orbax restores as if nothing were
    assert 'kernel has changed' in skipped[0]
  with Checkpoints(folder) as checkpoints:  # its place is free again
    checkpoints.save(8, STATES[8], SPEC)
  assert_equal(restore(folder)[0], STATES[8])


def test_a_save_that_was_never_finished_is_no_checkpoint(folder):
  (folder / 'latest' / '8').rename(folder / 'latest' / '8.orbax-checkpoint-tmp')
  state, skipped = restore(folder)
  assert_equal(state, STATES[5])
  assert skipped == []


@pytest.mark.parametrize('damage', DAMAGES)
def test_nothing_starts_afresh_where_all_are_damaged(damage, folder):
  for step in (5, 8):
    damage(folder / 'latest' / str(step))
  with pytest.raises(RunError, match=r'no checkpoint .* can be restored: .*step 8.*step 5.*Nothing was started afresh'):
    restore(folder)
  assert not (folder / 'damaged').exists()


def test_another_structure_is_an_error_and_no_damage(folder):
  with pytest.raises(UserError, match=r'does not fit.*\(2,\) in the checkpoint|does not fit.*shape \('):
    restore(folder, make_state(width=8))
  assert not (folder / 'damaged').exists()
  assert_equal(restore(folder)[0], STATES[8])


def test_no_checkpoint_is_no_error(tmp_path):
  assert restore(tmp_path / 'new') == (None, [])


@pytest.mark.parametrize(('last', 'best'), [((0.75, -0.9), 5), ((0.75, -0.8), 5), ((0.75, -0.7), 8), ((0.8, -3.0), 8)])
def test_the_best_outlives_later_ones_and_among_equals_the_lower_loss_counts_then_the_first(last, best, tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for step, score in ((3, (0.5, -0.1)), (5, (0.75, -0.8)), (8, last)):
      checkpoints.save_best(step, STATES[step].variables, SPEC, score)
  assert [path.name for path in (tmp_path / 'best').iterdir()] == [str(best)]
  with Checkpoints(tmp_path, read_only=True) as checkpoints:
    assert checkpoints.best_step == best
    assert checkpoints.restore_spec() == SPEC
    assert_equal(checkpoints.restore_best(FIRST.variables), STATES[best].variables)


def test_what_lies_in_a_devices_own_layout_is_saved_where_implicit_transfers_are_forbidden(tmp_path):
  """As training forbids them: no array of a GPU can be read in place, and none of a CPU that has its axes swapped."""
  swapped = Format(Layout(major_to_minor=(1, 0)), SingleDeviceSharding(jax.devices()[0]))
  state = jax.tree.map(lambda x: jax.device_put(x, swapped) if x.ndim == 2 else x, STATES[3])
  (kernel,) = [x for x in jax.tree.leaves(state) if getattr(x, 'ndim', 0) == 2][:1]
  with pytest.raises(jax.errors.JaxRuntimeError, match='Disallowed'), jax.transfer_guard('disallow'):
    np.array(kernel, copy=True)
  with Checkpoints(tmp_path) as checkpoints, jax.transfer_guard('disallow'):
    checkpoints.save(3, state, SPEC)
    checkpoints.save_best(3, state.variables, SPEC, (0.5, -1.0))
  assert_equal(restore(tmp_path)[0], STATES[3])


@pytest.mark.parametrize('damage', [empty, truncate, drop_manifests, flip_a_byte_of_the_record, garbage_metadata])
def test_a_damaged_best_is_an_error_that_names_how_to_resume(damage, tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(3, STATES[3], SPEC)
    checkpoints.save_best(3, STATES[3].variables, SPEC, (0.5, -1.0))
  damage(tmp_path / 'best' / '3')
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(RunError, match=r'of step 3, .* mils-jax train '):
    checkpoints.restore_best(FIRST.variables)


def test_a_record_tells_any_change():
  values = Record.of({'params': {'kernel': np.ones(3)}}, SPEC, (0.5, -1.0)).to_json()
  assert Record.from_json(dict(values)) == Record.of({'params': {'kernel': np.ones(3)}}, SPEC, (0.5, -1.0))
  for change in ({'score': [0.6, -1.0]}, {'arrays': {}}, {'spec': {**values['spec'], 'classes': ['a']}}):
    with pytest.raises(Exception, match='record has changed'):
      Record.from_json({**values, **change})


def test_a_record_of_an_older_version_is_read_by_todays_names():
  spec = dataclasses.replace(SPEC, stated_channels=Statement(OWN, ('B04', 'B03')))
  values = Record.of({}, spec, (0.5, -math.inf)).to_json()
  by_old_names = {**values['spec'], 'files_say': values['spec']['stated_channels'],
                  'channels': {**values['spec']['channels'], 'slots': values['spec']['channels']['names']}}
  del by_old_names['stated_channels'], by_old_names['channels']['names']
  old = {'contract': by_old_names, 'validation_accuracy': 0.5, 'arrays': values['arrays']}
  old['checksum'] = zlib.crc32(json.dumps(old, sort_keys=True).encode())
  assert Record.from_json(old) == Record.of({}, spec, (0.5, -math.inf))


def test_reading_makes_and_changes_nothing(folder):
  before = sorted(folder.rglob('*'))
  with Checkpoints(folder, read_only=True) as checkpoints:
    assert checkpoints.latest_step == 8
  assert sorted(folder.rglob('*')) == before


def test_states_hold_all_that_a_run_is():
  assert {field.name for field in dataclasses.fields(STATES[3])} >= {'step', 'params', 'batch_stats',
                                                                     'optimizer_state', 'sums'}


def test_averaged_weights_are_part_of_the_state_and_are_what_is_kept_as_the_best(tmp_path):
  model = WideCNN(2, in_channels=2, stages=2, width=8)
  state = first_state(step_plan(model, ema_decay=0.9), (8, 8))
  state = state.replace(average=jax.tree.map(lambda x: x + 7, state.average))
  with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    checkpoints.save(3, state.replace(step=np.int32(3)), SPEC)
    checkpoints.save_best(3, state.variables, SPEC, (0.5, -1.0))
  with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    restored, _ = checkpoints.restore_latest(like=state)
    best = checkpoints.restore_best(like=state.variables)
  jax.tree.map(np.testing.assert_array_equal, restored, state.replace(step=np.int32(3)))
  jax.tree.map(np.testing.assert_array_equal, best, state.average)


@pytest.mark.parametrize('error', [MemoryError('out of memory'), OSError(5, 'Input/output error'),
                                   PermissionError(13, 'Permission denied'), TypeError('unexpected keyword'),
                                   RuntimeError("can't start new thread"), AttributeError('no attribute'),
                                   ValueError('RESOURCE_EXHAUSTED: too many open files'),
                                   ValueError('PERMISSION_DENIED: Error reading: Failed to open')], ids=repr)
def test_a_checkpoint_that_cannot_be_read_now_is_no_damaged_one(tmp_path, monkeypatch, error):
  """It stays where it is, and no older one takes its place."""
  with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    for step in (3, 5):
      checkpoints.save(step, STATES[step], SPEC)
      checkpoints.wait()

  def fails(*arguments, **options):
    raise error

  with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
    monkeypatch.setattr(ocp.CheckpointManager, 'restore', fails)
    with pytest.raises(RunError, match='the checkpoint of step 5 cannot be read'):
      checkpoints.restore_latest(like=FIRST)
    monkeypatch.undo()
  assert sorted(path.name for path in (tmp_path / 'checkpoints' / 'latest').iterdir()) == ['3', '5']
  assert not (tmp_path / 'checkpoints' / 'damaged').exists()


def test_where_saving_fails_at_the_end_the_callers_loggers_are_given_back(tmp_path, monkeypatch):
  before = sys.unraisablehook, [logging.getLogger(name).level for name in LOGGERS]
  with pytest.raises(ZeroDivisionError), Checkpoints(tmp_path) as checkpoints:
    monkeypatch.setattr(checkpoints, 'wait', lambda: 1 / 0)
  assert (sys.unraisablehook, [logging.getLogger(name).level for name in LOGGERS]) == before

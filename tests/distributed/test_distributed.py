"""Runs of two processes with two devices each, through the real runtime: equal to one process, and never hanging."""

import json
import re
import signal
import time

import numpy as np
import pytest

from tests.runs import assert_codes, assert_same, finish, run, start_together

pytestmark = pytest.mark.slow
SLOWLY = ('--config.data.shapes.num_train=6000', '--config.train.epochs=40', '--config.checkpoint.every_steps=1')
SOON = ('--config.runtime.heartbeat_timeout=5', '--config.runtime.join_timeout=60')
GO_ON = 'Run the same command to resume from the last checkpoint: python main.py --config='


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


@pytest.fixture(scope='module')
def alone(tmp_path_factory, cache):
  """One process with four devices."""
  folder = tmp_path_factory.mktemp('alone') / 'run'
  done = run(folder, cache, devices=4)
  assert done.returncode == 0, done.stderr
  return folder


def assert_same_up_to_rounding(folder, expected):
  lines, expected_lines = ([json.loads(line) for line in (one / 'metrics.jsonl').read_text().splitlines()]
                           for one in (folder, expected))
  for line, other in zip(lines, expected_lines, strict=True):
    assert line == pytest.approx(other, rel=1e-3)
    assert (line['train_count'], line['val_count']) == (250, 64)
  with np.load(folder / 'predictions.npz') as ours, np.load(expected / 'predictions.npz') as others:
    assert ours['example_id'].tolist() == others['example_id'].tolist()
    np.testing.assert_array_equal(ours['label'], others['label'])
    np.testing.assert_allclose(ours['logits'], others['logits'], atol=2e-3)


def latest(folder):
  return sorted(int(path.name) for path in (folder / 'checkpoints' / 'latest').glob('*') if path.name.isdecimal())


def wait_for_step(folder, step, processes):
  end = time.monotonic() + 200
  while not latest(folder) or latest(folder)[-1] < step:
    assert all(process.poll() is None for process in processes), finish(processes)
    assert time.monotonic() < end
    time.sleep(0.02)


def own_lines(lines):
  """Without what the collectives of the CPU backend and JAX's preemption service print."""
  return [line for line in lines if line and 'peer rank' not in line and 'SIGTERM caught at' not in line]


@pytest.mark.parametrize('placement', ['device', 'host'])
def test_two_processes_train_as_one_does(placement, alone, cache, tmp_path):
  setting = f'--config.runtime.data_placement={placement}'
  first, second = ended = finish(start_together(tmp_path / 'run', cache, setting))
  assert_codes(ended, 0, 0)
  assert_same_up_to_rounding(tmp_path / 'run', alone)
  assert any('on 4 devices of 2 processes' in line for line in first[1])
  assert len(own_lines(second[1])) == 1
  assert second[1][0].startswith('joining the other processes at localhost:')
  assert own_lines(second[2]) == own_lines(first[2]) == []
  assert len(json.loads((tmp_path / 'run' / 'run.json').read_text())['devices']) == 4
  again = finish(start_together(tmp_path / 'run', cache))
  assert_codes(again, 0, 0)
  assert any('is finished; this is its result' in line for line in again[0][1])


@pytest.mark.parametrize('victim', [0, 1])
def test_a_killed_process_ends_the_other_and_the_run_resumes_with_one(victim, alone, cache, tmp_path):
  processes = start_together(tmp_path / 'run', cache, '--config.checkpoint.every_steps=1', *SOON)
  wait_for_step(tmp_path / 'run', 3, processes)
  processes[victim].kill()
  ended = finish(processes, timeout=30)
  assert ended[1 - victim][0] not in (0, None), ended
  done = run(tmp_path / 'run', cache)
  assert done.returncode == 0, done.stderr
  assert int(re.search(r'resuming from step (\d+)', done.stdout)[1]) >= 3
  assert_same_up_to_rounding(tmp_path / 'run', alone)


def test_a_run_of_one_process_resumes_with_two(alone, cache, tmp_path):
  done = run(tmp_path / 'run', cache, '--config.checkpoint.every_steps=3')
  assert done.returncode == 0, done.stderr
  for step in latest(tmp_path / 'run')[1:]:
    (tmp_path / 'run' / 'checkpoints' / 'latest' / str(step)).rename(tmp_path / str(step))
  (tmp_path / 'run' / 'results.json').unlink()
  first, _ = ended = finish(start_together(tmp_path / 'run', cache))
  assert_codes(ended, 0, 0)
  assert any('resuming from step 15' in line for line in first[1]), first
  assert_same_up_to_rounding(tmp_path / 'run', alone)


@pytest.mark.parametrize('victim', [0, 1])
def test_a_frozen_process_ends_the_other_within_the_time_out(victim, cache, tmp_path):
  processes = start_together(tmp_path / 'run', cache, *SLOWLY, *SOON)
  wait_for_step(tmp_path / 'run', 1, processes)
  processes[victim].send_signal(signal.SIGSTOP)
  other = 1 - victim
  try:
    (code, *_), = finish(processes[other:other + 1], timeout=60)
  finally:
    processes[victim].kill()
    processes[victim].communicate()
  assert code not in (0, None)


@pytest.mark.parametrize(('targets', 'number'),
                         [([1], signal.SIGTERM), ([0, 1], signal.SIGTERM), ([1], signal.SIGINT)])
def test_a_signal_to_any_process_saves_once_and_ends_all(targets, number, cache, tmp_path):
  processes = start_together(tmp_path / 'run', cache, *SLOWLY)
  wait_for_step(tmp_path / 'run', 1, processes)
  for index in targets:
    processes[index].send_signal(number)
  first, second = ended = finish(processes, timeout=60)
  assert_codes(ended, 143, 143)
  found = re.match(r'stopped by SIGTERM after step (\d+), which is saved\. ' + re.escape(GO_ON), first[2][-1])
  assert found, first
  assert int(found[1]) == latest(tmp_path / 'run')[-1]
  assert own_lines(second[2]) == []


def test_a_stopped_run_ends_as_if_it_had_not_been(cache, tmp_path):
  whole, stopped = tmp_path / 'whole', tmp_path / 'stopped'
  assert_codes(finish(start_together(whole, cache)), 0, 0)
  processes = start_together(stopped, cache, '--config.checkpoint.every_steps=1')
  wait_for_step(stopped, 3, processes)
  processes[1].send_signal(signal.SIGTERM)
  assert_codes(finish(processes), 143, 143)
  first, _ = ended = finish(start_together(stopped, cache))
  assert_codes(ended, 0, 0)
  assert any('resuming from step' in line for line in first[1]), first
  assert_same(stopped, whole)


def test_what_is_wrong_on_one_process_ends_both(cache, tmp_path):
  own = ['--config.train.seed=0'], ['--config.train.seed=1']
  first, second = finish(start_together(tmp_path / 'run', cache, *SOON, own=own), timeout=60)
  assert first[0] not in (0, None)
  assert second[0] == 2
  assert own_lines(second[2]) == ['process 1: error: process 1 has another configuration than the first; expected the '
                                  'same on all']


@pytest.mark.parametrize('index', [0, 1])
def test_a_process_that_stays_alone_gives_up(index, cache, tmp_path):
  processes = start_together(tmp_path / 'run', cache, '--config.runtime.join_timeout=20')
  processes[1 - index].kill()
  processes[1 - index].communicate()
  (code, lines, _), = finish(processes[index:index + 1], timeout=60)
  assert code not in (0, None)
  assert 'waiting at most 20 s (runtime.join_timeout)' in lines[0]


def test_a_mistake_of_all_is_one_line_of_each(cache, tmp_path):
  first, second = ended = finish(start_together(tmp_path / 'run', cache, '--config.train.batch_size=30'))
  assert_codes(ended, 2, 2)
  line = 'error: train.batch_size=30: must be a positive multiple of the 4 devices of 2 processes'
  assert (own_lines(first[2]), own_lines(second[2])) == ([line], [f'process 1: {line}'])
  assert not (tmp_path / 'run').exists()


def test_a_mistake_that_the_first_alone_meets_ends_all_by_a_line(cache, tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'somebody.txt').write_text('else')
  first, second = ended = finish(start_together(tmp_path / 'run', cache))
  assert_codes(ended, 2, 1)
  assert len(own_lines(first[2])) == 1
  assert own_lines(second[2]) == ['process 1: failed: the first process failed; its own line has the reason']

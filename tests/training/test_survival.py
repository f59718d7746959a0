"""Runs that are stopped, killed, locked out and short of disk: real processes, signals and file systems."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.runs import assert_same, latest_steps, mount, run, start, stop_at_step, unmount, wait_for

pytestmark = pytest.mark.slow

OFTEN = ('--config.checkpoint.every_steps=2',)
SLOWLY = ('--config.data.shapes.num_train=6000', '--config.train.epochs=40')  # long enough to be stopped in its middle


@pytest.mark.parametrize('step', [13, 3])
def test_a_run_killed_in_an_epoch_ends_as_if_it_had_not_been(step, whole, cache, tmp_path):
  stop_at_step(tmp_path / 'run', cache, step)
  done = run(tmp_path / 'run', cache)
  assert done.returncode == 0, done.stderr
  found = re.search(r'resuming from step (\d+)', done.stdout)
  assert found, done.stdout
  assert int(found[1]) >= step
  assert_same(tmp_path / 'run', whole)


@pytest.mark.parametrize('damaged', [True, False])
def test_a_run_resumes_from_an_epochs_end(damaged, whole, cache, tmp_path):
  """With the best checkpoint and the metrics of a later step already there."""
  folder = shutil.copytree(whole, tmp_path / 'run')
  assert latest_steps(folder) == [8, 16]  # every epoch's end is saved
  (folder / 'results.json').unlink()
  shutil.rmtree(folder / 'checkpoints' / 'latest' / '16')
  if damaged:
    (folder / 'checkpoints' / 'latest' / '16').mkdir()
  done = run(folder, cache)
  assert done.returncode == 0, done.stderr
  assert ('the checkpoint of step 16 is damaged' in done.stdout) == damaged
  assert 'resuming from step 8 (1 epoch and 0 steps done)' in done.stdout
  assert_same(folder, whole)


def test_checkpoints_by_the_clock_change_nothing_else(whole, cache, tmp_path):
  assert run(tmp_path / 'run', cache, '--config.checkpoint.every_minutes=1e-6').returncode == 0
  assert latest_steps(tmp_path / 'run') == [15, 16]
  assert_same(tmp_path / 'run', whole)


def test_a_run_killed_on_four_devices_ends_as_if_it_had_not_been(cache, tmp_path):
  assert run(tmp_path / 'whole', cache, devices=4).returncode == 0
  stop_at_step(tmp_path / 'run', cache, 11, devices=4)
  done = run(tmp_path / 'run', cache, devices=4)
  assert done.returncode == 0, done.stderr
  assert_same(tmp_path / 'run', tmp_path / 'whole')


def test_another_number_of_devices_resumes_equal_up_to_rounding(whole, cache, tmp_path):
  stop_at_step(tmp_path / 'run', cache, 3)
  done = run(tmp_path / 'run', cache, devices=2)
  assert done.returncode == 0, done.stderr
  for line, expected in zip((tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines(),
                            (whole / 'metrics.jsonl').read_text().splitlines(), strict=True):
    assert json.loads(line)['train_loss'] == pytest.approx(json.loads(expected)['train_loss'], rel=1e-3)


@pytest.mark.parametrize(('number', 'code'),
                         [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_the_current_step_and_prints_how_to_resume(number, code, cache, tmp_path):
  process = start(tmp_path / 'run', cache, *SLOWLY, '--config.checkpoint.every_steps=1')
  wait_for(lambda: latest_steps(tmp_path / 'run'), process)
  sent = time.monotonic()
  process.send_signal(number)
  _, error = process.communicate(timeout=60)
  assert time.monotonic() - sent < 10
  assert process.returncode == code, error
  last = error.splitlines()[-1]
  found = re.match(rf'stopped by {number.name} after step (\d+), which is saved\. Run the same command to resume', last)
  assert found, error
  assert int(found[1]) == latest_steps(tmp_path / 'run')[-1]
  assert "Traceback" not in error
  assert 'python main.py --config=' in last


def test_a_second_signal_stops_at_once(cache, tmp_path):
  process = start(tmp_path / 'run', cache, *SLOWLY)
  wait_for(lambda: (tmp_path / 'run' / 'config.json').exists(), process)
  os.kill(process.pid, signal.SIGTERM)
  os.kill(process.pid, signal.SIGINT)
  _, error = process.communicate(timeout=10)
  assert process.returncode in (130, 143), error
  assert 'Traceback' not in error


def test_a_second_process_is_refused_and_a_dead_ones_lock_is_not_in_the_way(whole, cache, tmp_path):
  first = start(tmp_path / 'run', cache, *SLOWLY)
  lock = tmp_path / 'run' / 'lock'
  wait_for(lambda: lock.exists() and lock.read_text(), first)
  second = run(tmp_path / 'run', cache, *SLOWLY)
  assert second.returncode == 2
  assert second.stderr.count('\n') == 1
  assert f'process {first.pid} on ' in second.stderr
  first.kill()
  first.communicate()
  assert f'process {first.pid} on ' in lock.read_text()  # left behind
  third = start(tmp_path / 'run', cache, *SLOWLY)
  wait_for(lambda: f'process {third.pid} on ' in lock.read_text(), third)
  third.kill()
  third.communicate()


def test_a_folder_that_cannot_be_written_is_one_line(cache, tmp_path):
  mount(tmp_path, 'ro')
  try:
    done = run(tmp_path / 'disk' / 'run', cache)
  finally:
    unmount(tmp_path)
  assert done.returncode == 2
  assert done.stderr.count('\n') == 1
  assert 'cannot be written: Read-only file system' in done.stderr


def test_a_finished_run_is_evaluated_from_a_read_only_disk(whole, cache, tmp_path):
  mount(tmp_path, 'rw')
  try:
    subprocess.run(['cp', '-r', str(whole), str(tmp_path / 'disk' / 'run')], check=True)
    subprocess.run(['mount', '-o', 'remount,ro', str(tmp_path / 'disk')], check=True)
    done = run(tmp_path / 'disk' / 'run', cache, '--mode=evaluate')
    elsewhere = run(tmp_path / 'disk' / 'run', cache, '--mode=evaluate', f'--output={tmp_path / "elsewhere"}')
    nowhere = run(tmp_path / 'disk' / 'run', cache, '--mode=evaluate', f'--output={tmp_path / "disk" / "other"}')
  finally:
    unmount(tmp_path)
  correct = json.loads((whole / 'results.json').read_text())['test']['correct']
  for one in (done, elsewhere):
    assert one.returncode == 0, one.stderr
    assert f'({correct} of 64;' in one.stdout
  assert (f'nothing was saved: {tmp_path}/disk/run/evaluation/test cannot be written (Read-only file system). The same '
          'command with --output FOLDER saves elsewhere') in done.stdout.splitlines()
  assert 'nothing was saved' not in elsewhere.stdout
  assert any(line.endswith(f'{tmp_path}/elsewhere/report.html') for line in elsewhere.stdout.splitlines())
  assert json.loads((tmp_path / 'elsewhere/evaluation.json').read_text())['scores']['correct'] == correct
  assert nowhere.returncode == 2
  assert nowhere.stderr == (f'error: --output {tmp_path}/disk/other cannot be written: Read-only file system\n')


@pytest.mark.parametrize('size', ['400k', '100k'])
def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_resumes(size, whole, cache, tmp_path):
  """On a file system of its own, which runs full at different moments and then gets larger."""
  mount(tmp_path, f'size={size}')
  try:
    done = run(tmp_path / 'disk' / 'run', cache, '--config.checkpoint.every_steps=1')
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.splitlines()[-1].startswith('failed: '), done.stderr
    assert 'No space left on device' in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr
    kept = latest_steps(tmp_path / 'disk' / 'run')
    subprocess.run(['mount', '-o', 'remount,size=50m', str(tmp_path / 'disk')], check=True)
    again = run(tmp_path / 'disk' / 'run', cache)
    assert again.returncode == 0, again.stderr
    assert ('resuming from step' in again.stdout) == bool(kept)
    assert_same(tmp_path / 'disk' / 'run', whole)
  finally:
    unmount(tmp_path)


@pytest.fixture(scope='module')
def usual_seconds(whole, cache, tmp_path_factory):
  """How long an undisturbed run takes, with its cache and programs built before, and without."""
  folder = tmp_path_factory.mktemp('usual')
  seconds = []
  for place in (cache, folder / 'cache'):
    started = time.monotonic()
    assert run(folder / f'run{len(seconds)}', place, *OFTEN).returncode == 0
    seconds.append(time.monotonic() - started)
  return seconds


@pytest.mark.parametrize('moment', range(20))
def test_a_kill_at_any_moment_costs_nothing(moment, usual_seconds, whole, cache, tmp_path):
  """Spread over a run: starting, building the cache, compiling, training, saving, validating and the final test."""
  anew = moment % 4 == 0  # builds the cache and compiles
  own_cache = tmp_path / 'cache' if anew else cache
  process = start(tmp_path / 'run', own_cache, *OFTEN)
  time.sleep((moment + 0.5) / 20 * usual_seconds[anew])
  process.kill()
  process.communicate()
  done = run(tmp_path / 'run', own_cache, *OFTEN)
  assert done.returncode == 0, done.stderr
  assert_same(tmp_path / 'run', whole)


def there(folder, pattern):
  return any(folder.glob(pattern))


PHASES = {  # what shows, in the run folder or the cache, that a run has come so far
    'building the cache': lambda run, cache: there(cache, 'datasets/.unfinished-*/train'),
    'compiling': lambda run, cache: there(run, 'metrics.jsonl'),
    'saving': lambda run, cache: there(run, 'checkpoints/latest/*tmp*'),
    'validating': lambda run, cache: there(run, 'checkpoints/latest/8'),
    'saving the best': lambda run, cache: there(run, 'checkpoints/best/*'),
    'testing': lambda run, cache: there(run, 'metrics.jsonl') and (run / 'metrics.jsonl').read_text().count('\n') == 2,
    'writing results': lambda run, cache: there(run, 'predictions.npz'),
}


@pytest.mark.parametrize('phase', PHASES)
def test_nor_does_one_in_any_phase(phase, whole, cache, tmp_path):
  """The moments above are drawn from the clock, and may miss what is short."""
  own_cache = tmp_path / 'cache' if phase in ('building the cache', 'compiling') else cache
  process = start(tmp_path / 'run', own_cache, *OFTEN)
  wait_for(lambda: PHASES[phase](tmp_path / 'run', own_cache), process)
  process.kill()
  process.communicate()
  done = run(tmp_path / 'run', own_cache, *OFTEN)
  assert done.returncode == 0, done.stderr
  assert_same(tmp_path / 'run', whole)


@pytest.mark.parametrize('choice', ['stop', 'skip'])
def test_a_run_that_diverges_names_what_and_keeps_the_last_good_checkpoint(choice, cache, tmp_path):
  done = run(tmp_path / 'run', cache, '--config.optimizer.learning_rate=1e25', '--config.checkpoint.every_steps=1',
             f'--config.train.on_nonfinite={choice}', '--config.train.nonfinite_limit=2')
  assert done.returncode == 1, done.stderr
  assert re.fullmatch(r'failed: the (loss|gradient|parameter) was non-finite in step [1-9]\d*.* is kept in .*\n',
                      done.stderr), done.stderr
  assert ('after 2 steps were skipped' in done.stderr) == (choice == 'skip')
  assert latest_steps(tmp_path / 'run')


def test_a_run_starts_from_another_ones_weights(whole, cache, tmp_path):
  done = run(tmp_path / 'run', cache, f'--config.train.init_from={whole}')
  assert done.returncode == 0, done.stderr
  assert f'starting from the best weights of {whole}' in done.stdout
  first = [json.loads((folder / 'metrics.jsonl').read_text().splitlines()[0]) for folder in (tmp_path / 'run', whole)]
  assert first[0]['train_loss'] < first[1]['train_loss']

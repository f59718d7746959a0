"""Disks that fill up, limits on the size of files, and folders of another user: real ones, and one line."""

import shutil
import subprocess

import pytest

from tests.runs import as_another_user, assert_same, latest_steps, mount, run, stop_at_step, unmount

pytestmark = pytest.mark.slow
INSPECT = '--mode=inspect'  # builds the dataset cache, and trains nothing


def file_limit(size):
  return ('prlimit', f'--fsize={size}', '--')


def left_in(cache):
  return [path for path in (cache / 'datasets').iterdir() if not path.name.endswith('.lock')]


def one_line(done, code, *parts):
  assert done.returncode == code, (done.stdout, done.stderr)
  assert done.stderr.count('\n') == 1, done.stderr
  for part in parts:
    assert part in done.stderr


@pytest.mark.parametrize('size', [500, 1148])  # kB: for some of the images; for all of them, but not for their names
def test_a_disk_that_fills_while_building_keeps_no_half_of_it(size, tmp_path):
  mount(tmp_path, f'size={size}k')
  cache = tmp_path / 'disk' / 'cache'
  try:
    done = run(tmp_path / 'run', cache, INSPECT)
    one_line(done, 1, f'failed: building the dataset cache in {cache}', 'No space left on device',
             'nothing half-written was kept')
    assert left_in(cache) == []
    subprocess.run(['mount', '-o', 'remount,size=50m', str(tmp_path / 'disk')], check=True)
    again = run(tmp_path / 'run', cache, INSPECT)
    assert again.returncode == 0, again.stderr
  finally:
    unmount(tmp_path)


def test_building_under_a_limit_of_file_sizes_keeps_no_half_of_it(tmp_path):
  done = run(tmp_path / 'run', tmp_path / 'cache', INSPECT, prefix=file_limit(300_000))
  one_line(done, 1, 'failed: building the dataset cache in', 'File too large')
  assert left_in(tmp_path / 'cache') == []


@pytest.mark.parametrize('size', [2_000, 10_000])  # bytes: too few for a checkpoint's metadata, and for its arrays
def test_a_run_under_a_limit_of_file_sizes_keeps_its_last_checkpoint(size, whole, cache, tmp_path):
  stop_at_step(tmp_path / 'run', cache, 3)
  done = run(tmp_path / 'run', cache, '--config.checkpoint.every_steps=1', prefix=file_limit(size))
  one_line(done, 1, 'failed: ', 'File too large')
  last = latest_steps(tmp_path / 'run')[-1]
  assert last >= 3
  again = run(tmp_path / 'run', cache)
  assert again.returncode == 0, again.stderr
  assert f'resuming from step {last} (' in again.stdout
  assert_same(tmp_path / 'run', whole)


def test_a_run_folder_of_another_user_is_the_users_mistake(whole, cache, tmp_path):
  folder = shutil.copytree(whole, tmp_path / 'run')
  (folder / 'results.json').unlink()
  with as_another_user(folder) as prefix:
    done = run(folder, cache, prefix=prefix)
    one_line(done, 2, f'error: the run folder {folder} cannot be written: Permission denied')
    inside = run(folder / 'new', cache, prefix=prefix)
    one_line(inside, 2, f'error: the run folder {folder / "new"} cannot be written: Permission denied')
  assert not (folder / 'new').exists()
  assert run(folder, cache).returncode == 0
  assert_same(folder, whole)


def test_so_are_checkpoints_that_may_not_be_written(cache, tmp_path):
  stop_at_step(tmp_path / 'run', cache, 3)
  kept = latest_steps(tmp_path / 'run')
  with as_another_user(tmp_path / 'run' / 'checkpoints') as prefix:
    done = run(tmp_path / 'run', cache, prefix=prefix)
  one_line(done, 1, 'failed: ', 'Permission denied')
  assert latest_steps(tmp_path / 'run') == kept


def test_a_checkpoint_half_deleted_by_a_killed_run_is_not_in_the_way_of_a_user_without_a_name(whole, cache, tmp_path):
  """As in a container that runs under any number: Orbax asks for the owner's name where a checkpoint has no record."""
  folder = shutil.copytree(whole, tmp_path / 'run')
  (folder / 'results.json').unlink()
  latest = folder / 'checkpoints' / 'latest'
  (latest / '8' / '_CHECKPOINT_METADATA').unlink()
  (latest / '24').mkdir()  # damaged: setting it aside looks at the others again
  with as_another_user(folder):
    done = run(folder, cache)
  assert done.returncode == 0, (done.stdout, done.stderr)
  assert 'the checkpoint of step 24 is damaged' in done.stdout
  assert 'resuming from step 16 (2 epochs and 0 steps done)' in done.stdout
  assert_same(folder, whole)


def test_a_finished_run_of_another_user_can_be_read(whole, cache, tmp_path):
  folder = shutil.copytree(whole, tmp_path / 'run')
  with as_another_user(folder) as prefix:
    done = run(folder, cache, prefix=prefix)
  assert done.returncode == 0, done.stderr
  assert 'is finished' in done.stdout

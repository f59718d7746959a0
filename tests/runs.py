"""Small real runs in processes of their own, and comparing what they leave."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ('--config=configs/task_b.py', '--config.model.stages=2', '--config.model.width=16',
         '--config.data.shapes.num_train=250', '--config.data.shapes.num_val=64', '--config.data.shapes.num_test=64',
         '--config.train.epochs=2', '--config.train.batch_size=32')  # 8 steps an epoch, the last one padded
EXACT = ('metrics.jsonl', 'results.json', 'predictions.npz')


def command(folder, cache, *flags):
  return [sys.executable, 'main.py', *SMALL, f'--config.runtime.cache={cache}', f'--workdir={folder}', *flags]


def environment(devices=1):
  return {**os.environ, 'JAX_NUM_CPU_DEVICES': str(devices), 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'}


def start(folder, cache, *flags, devices=1, **options):
  """A run under way."""
  return subprocess.Popen(command(folder, cache, *flags), cwd=ROOT, env=environment(devices), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def run(folder, cache, *flags, devices=1, prefix=(), **options):
  """A run from start to end, however it ends."""
  return subprocess.run([*prefix, *command(folder, cache, *flags)], cwd=ROOT, env=environment(devices), text=True,
                        timeout=300, capture_output=True, check=False, **options)


def start_together(folder, cache, *flags, own=((), ()), devices=2):
  """A run of several processes under way; `own` gives the further flags of each."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    coordinator = f'localhost:{free.getsockname()[1]}'
  return [start(folder, cache, '--distributed', f'--coordinator={coordinator}', f'--num_processes={len(own)}',
                f'--process_id={index}', *flags, *further, devices=devices) for index, further in enumerate(own)]


def finish(processes, timeout=300):
  """Waits for all: exit code, lines of standard output and of standard error of each."""
  texts = [process.communicate(timeout=timeout) for process in processes]
  return [(process.returncode, *(text.splitlines() for text in both))
          for process, both in zip(processes, texts, strict=True)]


def assert_codes(ended, *codes):
  """Fails, with all that the processes printed, unless they ended with these codes; `ended` is what `finish` gave."""
  if [code for code, *_ in ended] != list(codes):
    pytest.fail('\n'.join([f'expected the exit codes {codes}', *(
        '\n'.join([f'process {index}: {code}', *lines, 'standard error:', *errors])
        for index, (code, lines, errors) in enumerate(ended))]))


def assert_same(folder, other):
  for name in EXACT:
    assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def stop_at_step(folder, cache, step, *flags, devices=1):
  """Runs until the checkpoint of `step` is there, and perhaps a later one, as a SIGKILL might leave it."""
  process = start(folder, cache, '--config.checkpoint.every_steps=1', *flags, devices=devices)
  wait_for(lambda: any(path.name.isdecimal() and int(path.name) >= step
                       for path in (folder / 'checkpoints' / 'latest').glob('*')), process)
  process.kill()
  process.communicate()


def wait_for(condition, process, seconds=120):
  end = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < end, 'waited too long'
    time.sleep(0.002)


def latest_steps(folder):
  return sorted(int(path.name) for path in (folder / 'checkpoints' / 'latest').glob('*') if path.name.isdecimal())


def mount(folder, options):
  (folder / 'disk').mkdir()
  done = subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder / 'disk')], capture_output=True,
                        text=True, check=False)
  if done.returncode:
    pytest.skip(f'cannot mount here: {done.stderr.strip()}')


def unmount(folder):
  subprocess.run(['umount', '-l', str(folder / 'disk')], check=True)


@contextlib.contextmanager
def as_another_user(folder):
  """Gives a folder to another user; yields the words before a command that may then not write there."""
  if os.getuid() or not shutil.which('setpriv'):
    pytest.skip('needs root, to give a folder to another user, and setpriv, to do without the rights of root')
  subprocess.run(['chown', '-R', '12345:12345', str(folder)], check=True)
  try:
    yield ['setpriv', '--bounding-set=-all', '--inh-caps=-all']  # root by name, with no more rights than anyone
  finally:
    subprocess.run(['chown', '-R', '0:0', str(folder)], check=True)

"""Two small processes through the real runtime, and what they agree on."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # one waits for the other longer than a collective would

PROGRAM = '''
import atexit, json, sys, time
import jax, numpy as np
from mils_jax.distributed import launch, processes
from mils_jax.data.order import local_share
from mils_jax.distributed.devices import AXIS, Devices
coordinator, index = sys.argv[1], int(sys.argv[2])
assert (processes.count(), processes.index(), processes.is_first()) == (1, 0, True)
launch.join(launch.Place(coordinator, 2, index), join_timeout=60, heartbeat_timeout=20)
seen = {'place': [processes.count(), processes.index(), processes.is_first()]}
seen['value'] = processes.value_of_first('value', lambda: {'index': index})
seen['array'] = processes.arrays_of_first('array', lambda: np.arange(3.0), like=np.full(3, 9.0)).tolist()
def fails():
  raise ValueError('on the first alone')
try:
  processes.value_of_first('failure', fails)
except Exception as error:
  seen['failure'] = f'{type(error).__name__}: {error}'
time.sleep(40 * (1 - index))  # longer than a collective waits
seen['late'] = processes.value_of_first('late', lambda: 'ä' * 1000)
with processes.first_goes_first('turn'):
  time.sleep(0.3 * (1 - index))
  seen['turn'] = time.time()
devices = Devices()
batch = devices.share(local_share(np.arange(8.0)))  # (2, 2) on each
total = devices.parallel(lambda x: jax.lax.psum(x.sum(), AXIS), replicated=0, shared=1)
seen['all'], seen['places'] = float(total(batch)), np.asarray(batch).tolist()
if index == 0:  # alone: the other one would have to call it too, were it not local
  seen['local'] = np.asarray(devices.parallel(lambda x: 2 * x, 0, 1, gather=True, local=True)(batch)).tolist()
seen['first of each'] = Devices(1).count
print(json.dumps(seen), flush=True)
atexit.register(print, 'taken apart')
sys.exit(launch.leave(0, '', together=True))
'''


@pytest.fixture(scope='module')
def both():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    coordinator = f'localhost:{free.getsockname()[1]}'
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '2',
                 'PYTHONPATH': str(Path(__file__).parents[2])}
  started = [subprocess.Popen([sys.executable, '-c', PROGRAM, coordinator, str(index)], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) for index in range(2)]
  texts = [process.communicate(timeout=150) for process in started]
  assert [process.returncode for process in started] == [0, 0], texts
  assert 'taken apart' not in str(texts)  # where a run that was done is thought to have aborted
  return [json.loads(next(line for line in text.splitlines() if line.startswith('{'))) for text, _ in texts]


def test_each_knows_its_place(both):
  assert [seen['place'] for seen in both] == [[2, 0, True], [2, 1, False]]


def test_all_have_the_values_and_arrays_of_the_first(both):
  assert [seen['value'] for seen in both] == [{'index': 0}] * 2
  assert [seen['array'] for seen in both] == [[0, 1, 2]] * 2


def test_what_fails_on_the_first_fails_on_all(both):
  assert [seen['failure'] for seen in both] == ['ValueError: on the first alone',
                                                'RunError: the first process failed; its own line has the reason']


def test_the_others_wait_longer_than_a_collective_would(both):
  assert [seen['late'] for seen in both] == ['ä' * 1000] * 2


def test_the_first_goes_first(both):
  assert both[0]['turn'] < both[1]['turn']


def test_a_batch_is_shared_and_summed_over_the_devices_of_all(both):
  assert [seen['places'] for seen in both] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
  assert [seen['all'] for seen in both] == [28, 28]
  assert both[0]['local'] == [[0, 2], [4, 6]]
  assert [seen['first of each'] for seen in both] == [2, 2]

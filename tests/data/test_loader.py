import threading
import time

import numpy as np
import pytest

from mils_jax.data import order
from mils_jax.data.cache.dataset import Split
from mils_jax.data.loader import OnDevice, OnHost, place_split
from mils_jax.data.order import EvaluationOrder, TrainingOrder
from mils_jax.distributed import memory, processes
from mils_jax.distributed.devices import Devices
from tests.data.fakes import wait_until


def split_of(count=37, shape=(6, 5, 2), dtype='int16'):
  random = np.random.default_rng(0)
  images = random.integers(0, 200, (count, *shape)).astype(dtype)
  return Split(images, np.arange(count, dtype=np.int32), np.array([str(row) for row in range(count)]))


@pytest.mark.parametrize('count', [1, 2, 4])
@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'float32'])
def test_both_placements_give_the_ordered_examples_on_any_number_of_devices(count, dtype):
  split, devices = split_of(dtype=dtype), Devices(count)
  for steps in (TrainingOrder(3, len(split), 8), EvaluationOrder(len(split), 8)):
    placements = (OnDevice(split, devices), OnHost(split, devices))
    found = zip(*(one.batches(steps, 2, 5) for one in placements), strict=True)
    for step, both in enumerate(found, 2):
      rows, mask = steps(step)
      expected = {'image': split.images[rows], 'label': split.labels[rows], 'mask': mask}
      for batch in both:
        assert set(batch) == set(expected)
        for name, values in expected.items():
          assert batch[name].shape == (count, 8 // count, *values.shape[1:])
          assert batch[name].dtype == values.dtype
          assert batch[name].sharding.is_equivalent_to(devices.share(values).sharding, batch[name].ndim)
          assert np.array_equal(np.asarray(batch[name]).reshape(values.shape), values)


def test_processes_share_a_batch_without_gap_or_overlap(monkeypatch):
  values, parts = np.arange(12), []
  monkeypatch.setattr(processes, 'count', lambda: 3)
  for process in range(3):
    monkeypatch.setattr(processes, 'index', lambda process=process: process)
    parts.append(order.local_share(values))
  assert [len(part) for part in parts] == [4, 4, 4]
  assert np.array_equal(np.concatenate(parts), values)


def threads():
  return [thread for thread in threading.enumerate() if thread.name.startswith('batches')]


def test_closing_early_ends_the_thread():
  found = OnHost(split_of(), Devices(1)).batches(TrainingOrder(0, 37, 4), 0, 10**9)
  next(found)
  assert len(threads()) == 1
  found.close()
  assert not threads()


def test_an_exhausted_iterator_leaves_no_thread():
  assert len(list(OnHost(split_of(), Devices(1)).batches(TrainingOrder(0, 37, 4), 0, 3))) == 3
  assert not threads()


def test_an_error_on_the_thread_reaches_the_consumer():
  def broken(step):
    if step == 2:
      raise OSError('the disk is gone')
    return np.zeros(4, np.int32), np.ones(4, np.float32)

  found = OnHost(split_of(), Devices(1)).batches(broken, 0, 9)
  next(found), next(found)
  with pytest.raises(OSError, match='the disk is gone'):
    next(found)
  assert not threads()


def test_two_batches_are_kept_ahead():
  asked = []

  def watched(step):
    asked.append(step)
    return np.zeros(4, np.int32), np.ones(4, np.float32)

  found = OnHost(split_of(), Devices(1)).batches(watched, 0, 1000)
  next(found)
  wait_until(lambda: len(asked) == 4)
  time.sleep(0.2)  # for one more, if there were one
  assert asked == [0, 1, 2, 3]  # one in use, two ahead and one that is ready to follow
  found.close()


def test_auto_goes_by_free_memory(monkeypatch):
  split, devices = split_of(), Devices(2)
  monkeypatch.setattr(memory, 'free_host_bytes', lambda: 8 * split.images.nbytes)
  assert isinstance(place_split(split, devices, 'auto'), OnDevice)
  monkeypatch.setattr(memory, 'free_host_bytes', lambda: 8 * split.images.nbytes - 8)
  assert isinstance(place_split(split, devices, 'auto'), OnHost)
  assert isinstance(place_split(split, devices, 'device'), OnDevice)

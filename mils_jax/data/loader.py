"""Batches on the devices, from data that is stored on the device or on the host; both placements give the same batches.

A batch is a dict of arrays that are sharded over this process's D devices, with B its share of the batch:

    image   (D, B / D, H, W, C)  in the stored dtype
    label   (D, B / D)           int32
    mask    (D, B / D)           float32, 0 for the padding of a last short batch
    present (D, B / D, C)        bool, which channels each image has; only where some images lack some
"""

import collections
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np

from mils_jax.data.cache.dataset import Split
from mils_jax.data.order import local_share
from mils_jax.distributed.devices import Devices
from mils_jax.distributed.memory import free_bytes_per_device

BATCHES_AHEAD = 2  # batches that OnHost keeps ready, beside the one in use and the one that is being read
DEVICE_SHARE = 1 / 4  # largest share of the free memory that a split on the device may take

Batch = dict[str, jax.Array]
Order = Callable[[int], tuple[np.ndarray, np.ndarray]]


class OnDevice:
  """Keeps the whole split on every device; for each batch only its row numbers are sent."""

  def __init__(self, split: Split, devices: Devices):
    self.devices = devices
    self._arrays = devices.replicate({name: np.asarray(array) for name, array in _arrays_of(split).items()})
    self._gather = devices.parallel(lambda arrays, rows: {name: array[rows] for name, array in arrays.items()},
                                    replicated=1, shared=1, gather=True, local=True)

  def batches(self, order: Order, first_step: int, last_step: int) -> Iterator[Batch]:
    """The batches of the steps first_step..last_step - 1."""
    for step in range(first_step, last_step):
      rows, mask = self.devices.share([local_share(values) for values in order(step)])
      yield {**self._gather(self._arrays, rows), 'mask': mask}


class OnHost:
  """Reads each batch from the memory map, on a thread that keeps a few batches ahead.

  The host holds `BATCHES_AHEAD` + 2 batches at most, whatever the size of the split.
  """

  def __init__(self, split: Split, devices: Devices):
    self.split = split
    self.devices = devices

  def batches(self, order: Order, first_step: int, last_step: int) -> Iterator[Batch]:
    """The batches of the steps first_step..last_step - 1.

    Errors on the thread are raised here. Closing the iterator early ends the thread.
    """
    reader = ThreadPoolExecutor(1, 'batches')
    ready: collections.deque[Future[Batch]] = collections.deque()
    try:
      for step in range(first_step, last_step):
        ready.append(reader.submit(self._batch, order, step))
        if len(ready) == BATCHES_AHEAD + 2:
          yield ready.popleft().result()
      while ready:
        yield ready.popleft().result()
    finally:
      reader.shutdown(cancel_futures=True)

  def _batch(self, order: Order, step: int) -> Batch:
    rows, mask = (local_share(values) for values in order(step))
    return self.devices.share({**{name: array[rows] for name, array in _arrays_of(self.split).items()}, 'mask': mask})


def _arrays_of(split: Split) -> dict[str, np.ndarray]:
  """The arrays of a split that go into a batch."""
  arrays = {'image': split.images, 'label': split.labels}
  return arrays if split.present is None else {**arrays, 'present': split.present}


def place_split(split: Split, devices: Devices, placement: str = 'auto') -> OnDevice | OnHost:
  """Places a split on the devices or leaves it on the host.

  Args:
    split: split of a dataset cache.
    devices: the devices of this host.
    placement: device, host, or auto: on the device where each copy takes at most a quarter of the free memory.
  """
  if placement == 'auto':
    fits = split.images.nbytes <= DEVICE_SHARE * free_bytes_per_device(devices)
    placement = 'device' if fits else 'host'
  return OnDevice(split, devices) if placement == 'device' else OnHost(split, devices)

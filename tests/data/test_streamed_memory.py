"""A split on the host under a limit on anonymous memory that the split itself would break."""

import subprocess
import sys

CODE = '''
import resource, sys
from pathlib import Path
import jax
import numpy as np
from mils_jax.data.loader import OnDevice, OnHost
from mils_jax.data.order import EvaluationOrder, TrainingOrder
from mils_jax.data.cache.dataset import Split
from mils_jax.distributed.devices import Devices

count, shape = 4000, (256, 256, 3)  # 786 MB
path = Path(sys.argv[1]) / 'images.npy'
images = np.lib.format.open_memmap(path, 'w+', np.uint8, (count, *shape))  # a file with holes: takes little disk
images[:, 0, 0, 0] = np.arange(count) % 251
split = Split(np.load(path, mmap_mode='r'), np.arange(count, dtype=np.int32), np.array(['']))
del images
devices = Devices(1)
next(OnHost(split, devices).batches(EvaluationOrder(count, 32), 0, 1))  # what starting takes is not counted
lines = Path('/proc/self/status').read_text().splitlines()
used = 1024 * next(int(line.split()[1]) for line in lines if line.startswith('VmData'))
limit = used + 250 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
order, seen = TrainingOrder(0, count, 32), 0
for batch in OnHost(split, devices).batches(order, 0, order.steps_per_epoch):
  first = np.asarray(batch['image'])[0, :, 0, 0, 0]
  assert np.array_equal(first, np.asarray(batch['label'])[0] % 251)
  seen += int(batch['mask'].sum())
assert seen == count
print('streamed all', flush=True)
try:
  np.array(split.images)
except MemoryError:
  print('the whole set does not fit')
'''


def test_a_split_larger_than_the_memory_it_may_take_is_streamed(tmp_path):
  run = subprocess.run([sys.executable, '-c', CODE, str(tmp_path)], capture_output=True, text=True, check=False)
  assert run.stdout.splitlines() == ['streamed all', 'the whole set does not fit'], run.stderr[-2000:]

"""What every test has: four CPU devices, fast compiling, strict shapes, and the fixtures that many share."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from mils_jax import invocation

jax.config.update('jax_num_cpu_devices', 4)
# The tests ask what is computed, not how fast, and compiling is most of their time.
jax.config.update('jax_disable_most_optimizations', True)
if jax.__version_info__ < (0, 11):  # a flag that XLA no longer knows ends the process
  flags = os.environ.get('XLA_FLAGS')
  # At the lowest level a third to a half of the time: 9.1 to 3.3 s of CPU for a step of a small DynamicResNet12.
  os.environ['XLA_FLAGS'] = f'{flags or ""} --xla_cpu_use_fusion_emitters=false'
  jax.devices()  # reads them; the programs that tests start are compiled as users' are
  if flags is None:
    del os.environ['XLA_FLAGS']
  else:
    os.environ['XLA_FLAGS'] = flags
jax.config.update('jax_numpy_rank_promotion', 'raise')  # shapes that only happen to fit are mistakes
gc.set_threshold(100_000, 50, 100)  # as in main.py: what tracing makes stays, and looking through it takes ever longer


@pytest.fixture(autouse=True)
def called_by_a_program():
  """What one test typed decides no other's messages."""
  invocation.started_with([invocation.PROGRAM])


@pytest.fixture(autouse=True, scope='module')
def compiled_programs_go():
  """Each takes memory maps, of which Linux gives a process 65,530; the suite needs more, and compiling crashes."""
  yield
  maps = Path('/proc/self/maps')
  if maps.exists() and maps.read_text().count('\n') > 20_000:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope='session')
def real_data() -> Path:
  """The folder of real data sets that MILS_TEST_DATA names."""
  folder = os.environ.get('MILS_TEST_DATA')
  if not folder:
    pytest.skip('MILS_TEST_DATA names no folder with mini-imagenet.tar')
  return Path(folder)


@pytest.fixture(scope='session')
def small_runs(tmp_path_factory) -> Iterator[dict[str, Path]]:
  """Finished runs of an epoch, by network: narrow ones, on 16-pixel shapes. A test copies what it changes."""
  from configs import task_a, task_b
  from mils_jax.run import run_training
  from mils_jax.run_config import RunConfig
  from mils_jax.training.run_folder import RunFolder

  root = tmp_path_factory.mktemp('small_runs')
  narrow = {'wide_cnn': (task_b, {'stages': 2, 'width': 16, 'num_classes': 23}),  # more logits than the 20 classes
            'dynamic_resnet12': (task_a, {'num_kernels': 2, 'widths': (8,), 'blocks': 1, 'stem_width': 8})}
  for name, (task, fields) in narrow.items():
    config = task.get_config()
    config.data.shapes.update(num_train=90, num_val=21, num_test=41)
    config.data.image_size = 16
    config.train.update(epochs=1, batch_size=20)
    config.runtime.cache = str(root / 'cache')
    config.model.update(fields)
    if name == 'dynamic_resnet12':  # whose temperature is on its way when the run ends
      config.model.temperature = 0.5
      config.attention.update(annealing='linear', start=30.0, epochs=2.0)
    run_training(RunConfig.read(config), RunFolder(root / name), [])
  folders = {name: root / name for name in narrow}

  def files():
    return {path: path.stat().st_mtime_ns for folder in folders.values() for path in folder.rglob('*')}

  before = files()
  yield folders
  assert files() == before, 'a test changed what all of them share'

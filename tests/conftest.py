"""Four CPU devices for every test."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update('jax_num_cpu_devices', 4)
# The tests ask what is computed, not how fast, and compiling is most of their time.
jax.config.update('jax_disable_most_optimizations', True)


@pytest.fixture(scope='session')
def real_data() -> Path:
  """The folder of real data sets that MILS_TEST_DATA names."""
  folder = os.environ.get('MILS_TEST_DATA')
  if not folder:
    pytest.skip('MILS_TEST_DATA names no folder with mini-imagenet.tar')
  return Path(folder)

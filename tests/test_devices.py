import os
import subprocess
import sys

import pytest

from mils_jax import devices


def test_deterministic_kernels_are_asked_for_once_beside_the_users_own_flags(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_enable_fast_math=false')
  for _ in range(2):
    devices.use_deterministic_kernels()
  assert os.environ['XLA_FLAGS'] == '--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=true'


@pytest.mark.parametrize(('flag', 'known'), [('', True), ('--xla_gpu_no_such_flag=true', False)])
def test_this_xla_knows_the_flag(flag, known):
  """XLA ends a program that asks for a flag it does not know."""
  body = 'from mils_jax import devices; devices.use_deterministic_kernels(); import jax; jax.devices()'
  done = subprocess.run([sys.executable, '-c', body], env={**os.environ, 'XLA_FLAGS': flag, 'JAX_PLATFORMS': 'cpu'},
                        capture_output=True, check=False)
  assert (done.returncode == 0) == known

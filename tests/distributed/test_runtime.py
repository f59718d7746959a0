import os
import subprocess
import sys

import jax
import pytest

from mils_jax.distributed.runtime import RuntimeOptions, prepare


@pytest.fixture
def kept_cache(monkeypatch):
  """JAX's own settings stay as they are."""
  monkeypatch.setattr(jax.config, 'update', lambda *_: None)


def test_deterministic_kernels_are_asked_for_once_beside_the_users_own_flags(monkeypatch, kept_cache):
  monkeypatch.setenv('XLA_FLAGS', '--xla_cpu_enable_fast_math=false')
  for _ in range(2):
    prepare(RuntimeOptions(), deterministic=True)
  assert os.environ['XLA_FLAGS'] == '--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=true'


def test_other_kernels_are_not_asked_for(monkeypatch, kept_cache):
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  prepare(RuntimeOptions(), deterministic=False)
  assert 'XLA_FLAGS' not in os.environ


@pytest.mark.parametrize(('flag', 'known'), [('', True), ('--xla_gpu_no_such_flag=true', False)])
def test_this_xla_knows_the_flag(flag, known):
  """XLA ends a program that asks for a flag it does not know."""
  body = ('from mils_jax.distributed.runtime import RuntimeOptions, prepare; prepare(RuntimeOptions(), True); '
          'import jax; jax.devices()')
  done = subprocess.run([sys.executable, '-c', body], env={**os.environ, 'XLA_FLAGS': flag, 'JAX_PLATFORMS': 'cpu'},
                        capture_output=True, check=False)
  assert (done.returncode == 0) == known

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import jax, jax.numpy as jnp
from mils_jax.host_memory import keep_freed_memory
if sys.argv[1] == 'kept' and not keep_freed_memory():
  sys.exit('no glibc')
step = jax.jit(lambda x: jnp.sort(x * 2).reshape(-1, 1024) @ jnp.ones((1024, 1024)))
x = jnp.ones(2**22)
for number in range(20):
  if number == 10:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  step(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
def test_a_computations_memory_is_mapped_once_and_not_at_every_call():
  def faults(how):
    done = subprocess.run([sys.executable, '-c', STEPS, how], capture_output=True, text=True, timeout=120, check=False)
    if done.stderr.strip() == 'no glibc':
      pytest.skip('the C library is not glibc')
    return int(done.stdout)

  assert faults('kept') < faults('default') / 10

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.distributed import devices
from mils_jax.errors import UserError


def test_the_platform_is_that_of_the_devices():
  assert devices.Devices(2).platform == 'cpu'


@pytest.mark.parametrize('option', ['xla_cpu_scheduler_type', 'xla_cpu_no_such_option'])
def test_other_shapes_are_compiled_anew_whether_or_not_xla_knows_the_option(monkeypatch, option):
  monkeypatch.setattr(devices, 'LITTLE_MEMORY', {option: 'CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED'})
  traced = []

  def total(x, batch):
    traced.append(batch.shape)
    return x + jax.lax.psum(batch.sum(), devices.AXIS)

  two = devices.Devices(2)
  function = two.parallel(total, replicated=1, shared=1)
  for rows in (4, 6, 4):
    assert function(jnp.float32(1), two.share(np.ones((rows, 3), np.float32))) == 1 + 3 * rows
  assert traced == [(2, 3), (3, 3)]


@pytest.mark.parametrize('count', [1, 2])
def test_one_device_adds_nothing_up(count):
  some = devices.Devices(count)

  def gradients(x):
    return devices.sum_over_devices({'a': x.sum(0), 'b': 2 * x[0]}, devices.AXIS)

  batch = some.share(np.arange(12, dtype=np.float32).reshape(4, 3))
  found = some.parallel(gradients, replicated=0, shared=1)(batch)
  np.testing.assert_array_equal(found['a'], [18, 22, 26])
  np.testing.assert_array_equal(found['b'], [0, 2, 4] if count == 1 else [12, 16, 20])
  compiled = jax.pmap(gradients, devices.AXIS, devices=some.local).lower(batch).compile().as_text()
  assert ('all-reduce' in compiled) == (count == 2)


@pytest.mark.parametrize('count', [1, 2])
def test_what_was_compiled_ahead_is_not_compiled_again(count):
  traced = []

  def add(x, batch):
    traced.append(batch.shape)
    return jax.tree.map(lambda value: value + devices.sum_over_devices(batch.sum(), devices.AXIS), x)

  some = devices.Devices(count)
  function = some.parallel(add, replicated=1, shared=1, donate=(0,))
  state = {'a': np.float32(1), 'b': np.ones(3, np.float32)}
  batch = some.share(np.ones((4, 3), np.float32))
  devices.compile_ahead(function, jax.eval_shape(lambda: state), batch)
  found = function(function(some.replicate(state), batch), batch)
  np.testing.assert_array_equal(found['b'], [25, 25, 25])
  assert traced == [(4 // count, 3)]


def test_what_fails_while_it_is_compiled_ahead_fails_in_the_call():
  def fail(batch):
    raise ValueError('this shape does not fit')

  one = devices.Devices(1)
  function, batch = one.parallel(fail, replicated=0, shared=1), one.share(np.ones((4, 3), np.float32))
  devices.compile_ahead(function, batch)
  for _ in range(2):
    with pytest.raises(ValueError, match='does not fit'):
      function(batch)


def test_the_option_makes_xla_hold_less_at_once():
  lowered = jax.jit(lambda x: sum((x @ (x + number)) @ x for number in range(8))).lower(jnp.zeros((300, 300)))
  default, little = (lowered.compile(options).memory_analysis().temp_size_in_bytes
                     for options in ({}, devices.LITTLE_MEMORY))
  assert little < default


def test_a_process_of_several_that_were_not_joined_is_refused(monkeypatch):
  """As on a TPU pod, whose runtime knows of the others by itself."""
  monkeypatch.setattr(jax, 'process_count', lambda: 4)
  with pytest.raises(UserError, match='one of 4 processes, as on a TPU pod; expected --distributed'):
    devices.Devices()

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.nn import DynamicConv
from mils_jax.nn.dynamic_conv import mix_kernels, mix_outputs
from mils_jax.nn.lowering.choice import faster_gradient_implementation, faster_mix, faster_mixed_implementation
from tests.nn import reference

FLOAT = jnp.dtype('float32')


def make(mix, kernel_size, stride, in_channels=4, temperature=3.0, implementation='auto'):
  layer = DynamicConv(6, in_channels, kernel_size, stride, num_kernels=3, temperature=temperature, mix=mix,
                      implementation=implementation)
  variables = layer.init(jax.random.key(1), jnp.zeros((1, 5, 5, in_channels)))
  # Larger attention parameters than the initial ones, so that the samples' kernels really differ.
  variables = jax.tree.map(lambda value: value * 3, variables)
  return layer, variables


@pytest.mark.parametrize('mix', ['outputs', 'kernels', 'auto'])
@settings(max_examples=12, deadline=None)
@given(kernel_size=st.sampled_from([1, 3]), stride=st.sampled_from([1, 2]), height=st.integers(2, 9),
       width=st.integers(2, 9), channels=st.integers(1, 4))
def test_equals_the_definition_in_float64(mix, kernel_size, stride, height, width, channels):
  layer, variables = make(mix, kernel_size, stride)
  x = np.random.default_rng(height * 10 + width).normal(size=(3, height, width, channels)).astype(np.float32)
  expected = reference.dynamic_convolution(x, variables['params'], stride, temperature=3.0)
  np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, atol=3e-5)


@pytest.mark.parametrize('mix', ['outputs', 'kernels'])
@settings(max_examples=6, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), channels=st.integers(1, 4))
def test_winograds_way_equals_it_too(mix, height, width, channels):
  layer, variables = make(mix, 3, 1, implementation='winograd')
  x = np.random.default_rng(height * 10 + width).normal(size=(3, height, width, channels)).astype(np.float32)
  expected = reference.dynamic_convolution(x, variables['params'], 1, temperature=3.0)
  np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, atol=3e-5)


@pytest.mark.parametrize(('implementation', 'kernel_size', 'stride'), [
    *(('auto', kernel_size, stride) for kernel_size in (1, 3) for stride in (1, 2)), ('winograd', 3, 1)])
@pytest.mark.parametrize(('size', 'channels'), [((6, 6), 4), ((7, 5), 1), ((2, 3), 3)])
def test_both_mixes_have_the_same_gradients(implementation, kernel_size, stride, size, channels):
  x = jax.random.normal(jax.random.key(5), (3, *size, channels))

  def gradients(mix, implementation):
    layer, variables = make(mix, kernel_size, stride, implementation=implementation)
    gradient = jax.grad(lambda variables, x: jnp.sin(layer.apply(variables, x)).sum(), argnums=(0, 1))
    return jax.jit(gradient)(variables, x)

  expected = gradients('outputs', 'lax')
  for mix in ('outputs', 'kernels'):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), gradients(mix, implementation), expected)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(expected))


def test_samples_have_kernels_of_their_own():
  layer, variables = make('kernels', 3, 1)
  x = jax.random.normal(jax.random.key(3), (2, 6, 6, 4)) + jnp.array([[[[3.0]]], [[[-3.0]]]])
  together = layer.apply(variables, x)
  swapped = layer.apply(variables, x[::-1])[::-1]
  np.testing.assert_allclose(together, swapped, atol=1e-5)
  only_first = layer.apply(variables, jnp.concatenate([x[:1], x[:1]]))
  np.testing.assert_allclose(together[0], only_first[1], atol=1e-5)


def test_temperature_evens_the_kernels_out():
  outputs = []
  for temperature in (1.0, 1e6):
    layer, variables = make('kernels', 3, 1, in_channels=32, temperature=temperature)
    outputs.append(layer.apply(variables, jnp.ones((1, 5, 5, 32))))
  uniform = variables['params']['kernels'].mean(axis=0)
  expected = reference.convolution(np.ones((1, 5, 5, 32)), np.asarray(uniform), 1)
  np.testing.assert_allclose(outputs[1], expected, atol=1e-4)
  assert np.abs(outputs[0] - expected).max() > 1e-2


def test_too_many_channels_are_refused():
  layer, variables = make('auto', 3, 1)
  with pytest.raises(ValueError, match='5 channels given, at most 4 fit'):
    layer.apply(variables, jnp.ones((1, 5, 5, 5)))


def test_an_unknown_mix_is_refused():
  with pytest.raises(ValueError, match="mix 'fast' is none of auto, outputs, kernels"):
    DynamicConv(2, 3, mix='fast').init(jax.random.key(0), jnp.ones((1, 5, 5, 3)))


def test_the_default_mixes_kernels_on_wide_maps_or_for_few_samples():
  assert [faster_mix('cpu', 32, side * side) for side in (21, 4, 3, 2)] == ['kernels'] * 2 + ['outputs'] * 2
  assert faster_mix('cpu', 1, 4) == 'kernels'
  assert {faster_mix(platform, batch, 441) for platform in ('gpu', 'tpu') for batch in (1, 32)} == {'outputs'}


def test_mixed_kernels_take_winograds_way_while_they_are_small():
  assert faster_mixed_implementation('cpu', FLOAT, 32, (21, 21), (3, 64, 64), 1) == 'winograd'
  assert faster_mixed_implementation('cpu', FLOAT, 32, (11, 11), (3, 128, 128), 1) == 'patches'
  assert {faster_mixed_implementation(platform, FLOAT, 32, (21, 21), (3, 64, 64), stride)
          for platform, stride in (('cpu', 2), ('gpu', 1), ('gpu', 2))} == {'patches'}
  assert faster_mixed_implementation('cpu', jnp.dtype('bfloat16'), 32, (21, 21), (3, 64, 64), 1) == 'patches'
  assert faster_mixed_implementation('cpu', FLOAT, 4, (21, 21), (3, 64, 64), 1) == 'patches'


def test_large_kernels_of_small_maps_get_their_gradient_tap_by_tap():
  assert {faster_gradient_implementation('cpu', size, kernel)
          for size, kernel in (((11, 11), (3, 128, 128)), ((6, 6), (3, 256, 256)))} == {'taps'}
  assert {faster_gradient_implementation('cpu', size, kernel)
          for size, kernel in (((21, 21), (3, 64, 64)), ((4, 4), (3, 128, 128)))} == {'patches'}
  assert {faster_gradient_implementation(platform, (6, 6), (kernel_size, 256, 256))
          for platform, kernel_size in (('gpu', 3), ('cpu', 1))} == {'patches'}


@pytest.mark.parametrize('implementation', ['patches', 'winograd'])
@pytest.mark.parametrize('gradient_way', ['patches', 'taps', 'winograd'])
@pytest.mark.parametrize('size', [(5, 4), (1, 4)])  # on one row, two rows of the kernel meet only padding
def test_every_way_to_the_gradient_is_the_same(implementation, gradient_way, size):
  keys = jax.random.split(jax.random.key(7), 3)
  arguments = (jax.random.normal(keys[0], (3, *size, 2)), jax.random.normal(keys[1], (2, 3, 3, 2, 6)),
               jax.nn.softmax(jax.random.normal(keys[2], (3, 2))))

  def gradients(function, **ways):
    return jax.grad(lambda *given: jnp.sin(function(*given, stride=1, **ways)).sum(), (0, 1, 2))(*arguments)

  found = gradients(mix_kernels, implementation=implementation, gradient_way=gradient_way)
  expected = gradients(mix_outputs, implementation='lax')
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)


@pytest.mark.parametrize('ways', [('fast', 'auto'), ('cpu', 'fast')])
def test_an_unknown_way_is_refused(ways):
  with pytest.raises(ValueError, match="'fast' is none of auto, cpu, gpu, tpu, lax, patches, taps, winograd"):
    mix_kernels(jnp.ones((1, 5, 5, 3)), jnp.ones((2, 3, 3, 3, 4)), jnp.ones((1, 2)), 1, *ways)


@pytest.mark.parametrize('mix', ['outputs', 'kernels', 'auto'])
def test_no_convolution_is_grouped(mix):
  """Per-sample grouped kernels are slow in the backward pass, and sharded ones gather the whole batch."""
  layer, variables = make(mix, 3, 1)
  x = jnp.ones((4, 12, 12, 4))
  text = str(jax.make_jaxpr(jax.grad(lambda v: layer.apply(v, x).sum()))(variables))
  groups = re.findall(r'(?:feature|batch)_group_count=([0-9]+)', text)
  assert set(groups) <= {'1'}
  assert bool(groups) == ('conv_general_dilated' in text)


def test_the_limits_of_mixing_on_a_cpu():
  assert [faster_mix('cpu', 5, positions) for positions in (15, 16)] == ['outputs', 'kernels']
  assert [faster_mix('cpu', batch, 1) for batch in (4, 5)] == ['kernels', 'outputs']
  assert [faster_mixed_implementation('cpu', FLOAT, 5, (8, 8), (3, 64, features), 1) for features in (64, 65)] == [
      'winograd', 'patches']
  assert [faster_gradient_implementation('cpu', (positions, 1), (3, 64, 64)) for positions in (31, 32, 64, 65)] == [
      'patches', 'taps', 'taps', 'patches']


@pytest.mark.parametrize(('in_channels', 'hidden'), [(1, 1), (3, 1), (13, 3), (64, 16)])
def test_four_kernels_are_mixed_through_a_quarter_of_the_channels(in_channels, hidden):
  params = DynamicConv(8, in_channels).init(jax.random.key(0), jnp.ones((1, 4, 4, in_channels)))['params']
  assert params['kernels'].shape == (4, 3, 3, in_channels, 8)
  assert params['attention']['squeeze']['kernel'].shape == (in_channels, hidden)
  assert params['attention']['expand']['kernel'].shape == (hidden, 4)


def test_the_temperature_is_30_and_the_padding_half_the_kernel():
  layer, x = DynamicConv(6, 16), np.random.default_rng(0).normal(size=(3, 6, 5, 16)).astype(np.float32) + 1
  params = layer.init(jax.random.key(1), x)['params']
  params = {**params, 'attention': jax.tree.map(lambda value: 10 * value, params['attention'])}
  expected = reference.dynamic_convolution(x, params, 1, temperature=30.0)
  np.testing.assert_allclose(layer.apply({'params': params}, x), expected, atol=3e-5)
  assert np.abs(reference.dynamic_convolution(x, params, 1, temperature=29.0) - expected).max() > 1e-3

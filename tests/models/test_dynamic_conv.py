import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.models import DynamicConv
from mils_jax.models.dynamic_conv import faster_formulation
from tests.models import reference


def make(formulation, kernel_size, stride, max_channels=4, temperature=3.0):
  layer = DynamicConv(6, max_channels, kernel_size, stride, kernels=3, temperature=temperature, formulation=formulation)
  variables = layer.init(jax.random.key(1), jnp.zeros((1, 5, 5, max_channels)))
  # Larger attention parameters than the initial ones, so that the samples' kernels really differ.
  variables = jax.tree.map(lambda value: value * 3, variables)
  return layer, variables


@pytest.mark.parametrize('formulation', ['parallel', 'mixed', 'auto'])
@settings(max_examples=12, deadline=None)
@given(kernel_size=st.sampled_from([1, 3]), stride=st.sampled_from([1, 2]), height=st.integers(2, 9),
       width=st.integers(2, 9), channels=st.integers(1, 4))
def test_equals_the_definition_in_float64(formulation, kernel_size, stride, height, width, channels):
  layer, variables = make(formulation, kernel_size, stride)
  x = np.random.default_rng(height * 10 + width).normal(size=(3, height, width, channels)).astype(np.float32)
  expected = reference.dynamic_convolution(x, variables['params'], stride, temperature=3.0)
  np.testing.assert_allclose(layer.apply(variables, x), expected, atol=3e-5)


@pytest.mark.parametrize('kernel_size', [1, 3])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('size', [(6, 6), (7, 5)])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_both_formulations_have_the_same_gradients(kernel_size, stride, size, channels):
  x = jax.random.normal(jax.random.key(2), (3, *size, channels))

  def gradients(formulation):
    layer, variables = make(formulation, kernel_size, stride)
    return jax.grad(lambda variables, x: jnp.sin(layer.apply(variables, x)).sum(), argnums=(0, 1))(variables, x)

  parallel, mixed = gradients('parallel'), gradients('mixed')
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), parallel, mixed)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(mixed))


def test_samples_have_kernels_of_their_own():
  layer, variables = make('mixed', 3, 1)
  x = jax.random.normal(jax.random.key(3), (2, 6, 6, 4)) + jnp.array([[[[3.0]]], [[[-3.0]]]])
  together = layer.apply(variables, x)
  swapped = layer.apply(variables, x[::-1])[::-1]
  np.testing.assert_allclose(together, swapped, atol=1e-5)
  only_first = layer.apply(variables, jnp.concatenate([x[:1], x[:1]]))
  np.testing.assert_allclose(together[0], only_first[1], atol=1e-5)


def test_temperature_evens_the_kernels_out():
  outputs = []
  for temperature in (1.0, 1e6):
    layer, variables = make('mixed', 3, 1, max_channels=32, temperature=temperature)
    outputs.append(layer.apply(variables, jnp.ones((1, 5, 5, 32))))
  uniform = variables['params']['kernels'].mean(axis=0)
  expected = reference.convolution(np.ones((1, 5, 5, 32)), np.asarray(uniform), 1)
  np.testing.assert_allclose(outputs[1], expected, atol=1e-4)
  assert np.abs(outputs[0] - expected).max() > 1e-2


def test_too_many_channels_are_refused():
  layer, variables = make('auto', 3, 1)
  with pytest.raises(ValueError, match='5 channels given, at most 4 fit'):
    layer.apply(variables, jnp.ones((1, 5, 5, 5)))


def test_an_unknown_formulation_is_refused():
  with pytest.raises(ValueError, match='auto, parallel, mixed'):
    DynamicConv(2, 3, formulation='fast').init(jax.random.key(0), jnp.ones((1, 5, 5, 3)))


def test_the_default_mixes_kernels_on_wide_maps_only():
  chosen = [faster_formulation('cpu', side * side) for side in (21, 8, 6, 2)]
  assert chosen == ['mixed', 'mixed', 'parallel', 'parallel']


@pytest.mark.parametrize('formulation', ['parallel', 'mixed', 'auto'])
def test_no_convolution_is_grouped(formulation):
  """Per-sample grouped kernels are slow in the backward pass, and sharded ones gather the whole batch."""
  layer, variables = make(formulation, 3, 1)
  x = jnp.ones((4, 12, 12, 4))
  text = str(jax.make_jaxpr(jax.grad(lambda v: layer.apply(v, x).sum()))(variables))
  assert 'feature_group_count=1' in text or 'conv_general_dilated' not in text
  assert 'batch_group_count=1' in text or 'conv_general_dilated' not in text

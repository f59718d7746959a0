from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.nn.batch_norm import BatchNorm
from mils_jax.nn.pooling import max_pool


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize(('window', 'stride', 'padding'), [(2, 2, 0), (3, 2, 1)])
def test_pooling_before_normalising_is_pooling_after_it(window, stride, padding, train):
  """Also where a scale is negative, which turns the largest value into the smallest, or zero."""
  pool = partial(max_pool, window=window, stride=stride, padding=padding)
  keys = jax.random.split(jax.random.key(0), 5)
  x = 3 + jax.random.normal(keys[0], (4, 7, 6, 5))
  variables = {'params': {'scale': jnp.array([1.5, -0.7, 0.0, 1.0, -2.0]), 'bias': jax.random.normal(keys[1], (5,))},
               'batch_stats': {'mean': jax.random.normal(keys[2], (5,)), 'var': jax.random.uniform(keys[3], (5,)) + 1}}
  mask = jnp.array([1.0, 1.0, 0.0, 1.0])

  def apply(x, params, inside):
    y, updates = BatchNorm().apply(variables | {'params': params}, x, train, mask, pool if inside else None,
                                   mutable=['batch_stats'])
    return (y if inside else pool(y)), updates

  expected, expected_gradients, expected_updates = jax.vjp(partial(apply, inside=False), x, variables['params'],
                                                           has_aux=True)
  found, gradients, updates = jax.vjp(partial(apply, inside=True), x, variables['params'], has_aux=True)
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, updates, expected_updates)
  upstream = jax.random.normal(keys[4], found.shape).at[..., 2].set(0)  # of equal values, any may be the largest
  jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), gradients(upstream),
               expected_gradients(upstream))


def test_a_step_moves_the_running_statistics_by_a_tenth_and_the_variance_is_the_biased_one():
  x = jnp.array([1.0, 2.0, 3.0, 6.0]).reshape(2, 2, 1, 1)
  variables = BatchNorm().init(jax.random.key(0), x, train=False)
  _, updates = BatchNorm().apply(variables, x, train=True, mutable=['batch_stats'])
  np.testing.assert_allclose(updates['batch_stats']['mean'], 0.1 * 3.0, rtol=1e-6)
  np.testing.assert_allclose(updates['batch_stats']['var'], 0.9 * 1.0 + 0.1 * 3.5, rtol=1e-6)


def test_a_channel_without_variance_is_divided_by_the_root_of_epsilon():
  variables = BatchNorm().init(jax.random.key(0), jnp.ones((1, 1, 1, 1)), train=False)
  constant = {**variables, 'batch_stats': {'mean': jnp.zeros(1), 'var': jnp.zeros(1)}}
  np.testing.assert_allclose(BatchNorm().apply(constant, jnp.ones((1, 1, 1, 1)), train=False), 1 / np.sqrt(1e-5))

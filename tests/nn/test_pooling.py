import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.nn.pooling import max_pool


def reference(x, window, stride, padding):
  return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, stride, stride, 1),
                               ((0, 0), (padding, padding), (padding, padding), (0, 0)))


@pytest.mark.parametrize(('window', 'stride', 'padding'), [(2, 2, 0), (3, 3, 0), (3, 2, 1)])
@pytest.mark.parametrize('shape', [(2, 7, 6, 3), (1, 6, 9, 2), (2, 3, 3, 5)])
def test_the_largest_value_of_each_window_and_its_gradient(window, stride, padding, shape):
  x = jax.random.normal(jax.random.key(0), shape)
  expected, expected_gradient = jax.vjp(lambda x: reference(x, window, stride, padding), x)
  result, gradient = jax.vjp(lambda x: max_pool(x, window, stride, padding), x)
  np.testing.assert_array_equal(result, expected)
  upstream = jax.random.normal(jax.random.key(1), result.shape)
  np.testing.assert_allclose(gradient(upstream)[0], expected_gradient(upstream)[0], atol=1e-6)


def test_equal_largest_values_share_no_more_than_the_gradient_of_their_window():
  gradient = jax.grad(lambda x: max_pool(x, 2, 2).sum())(jnp.ones((1, 5, 4, 2)))
  np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0, 1, 0], [0] * 4, [1, 0, 1, 0], [0] * 4, [0] * 4])

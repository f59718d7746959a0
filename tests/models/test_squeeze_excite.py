import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.models import SqueezeExcite
from mils_jax.models.pooling import max_pool


def test_equals_two_1x1_convolutions_in_float64():
  layer = SqueezeExcite(reduction=4)
  x = np.random.default_rng(0).normal(size=(2, 5, 3, 16)).astype(np.float32)
  variables = jax.tree.map(lambda value: value + 0.1, layer.init(jax.random.key(0), x))
  squeeze, excite = (jax.tree.map(np.float64, variables['params'][name]) for name in ('squeeze', 'excite'))
  hidden = np.maximum(x.mean(axis=(1, 2), dtype=np.float64) @ squeeze['kernel'] + squeeze['bias'], 0)
  gate = 1 / (1 + np.exp(-(hidden @ excite['kernel'] + excite['bias'])))
  np.testing.assert_allclose(layer.apply(variables, x), x * gate[:, None, None, :], atol=1e-5)
  assert squeeze['kernel'].shape == (16, 4)


def test_max_pool_takes_the_largest_value_of_each_window():
  x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
  for window, stride, padding in ((2, 2, 0), (3, 2, 1)):
    expected = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, stride, stride, 1),
                                     ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    np.testing.assert_array_equal(max_pool(x, window, stride, padding), expected)

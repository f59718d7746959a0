import jax
import numpy as np

from mils_jax.nn import SqueezeExcite


def test_equals_two_1x1_convolutions_in_float64():
  layer = SqueezeExcite(reduction=4)
  x = np.random.default_rng(0).normal(size=(2, 5, 3, 16)).astype(np.float32)
  variables = jax.tree.map(lambda value: value + 0.1, layer.init(jax.random.key(0), x))
  squeeze, excite = (jax.tree.map(np.float64, variables['params'][name]) for name in ('squeeze', 'excite'))
  hidden = np.maximum(x.mean(axis=(1, 2), dtype=np.float64) @ squeeze['kernel'] + squeeze['bias'], 0)
  gate = 1 / (1 + np.exp(-(hidden @ excite['kernel'] + excite['bias'])))
  np.testing.assert_allclose(layer.apply(variables, x), x * gate[:, None, None, :], atol=1e-5)
  assert squeeze['kernel'].shape == (16, 4)


def test_the_two_layers_meet_in_a_sixteenth_of_the_channels():
  for channels, hidden in ((256, 16), (40, 2), (8, 1)):
    params = SqueezeExcite().init(jax.random.key(0), np.ones((1, 2, 2, channels), np.float32))['params']
    assert params['squeeze']['kernel'].shape == (channels, hidden)

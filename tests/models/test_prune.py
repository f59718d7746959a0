import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from scipy.special import softmax

from mils_jax.metrics.attention import attention_layers, replaced_attention
from mils_jax.models import DynamicResNet12
from mils_jax.models.prune import merge_kernels, prune_kernels
from mils_jax.nn import DynamicConv
from mils_jax.nn.convolution import convolve
from mils_jax.run import model_size

K = 4


@pytest.fixture(scope='module')
def network():
  """A network whose attention is far from uniform and differs between images, and such images."""
  model = DynamicResNet12(5, widths=(8,), blocks=1, stem_width=8, num_kernels=K, temperature=0.5)
  images = jax.random.normal(jax.random.key(1), (6, 16, 16, 3)) + jnp.arange(6.0)[:, None, None, None]
  variables = jax.jit(lambda: model.init(jax.random.key(0), images, train=False))()
  return model, variables, images


@pytest.fixture(scope='module')
def weights(network):
  model, *_ = network
  rng = np.random.default_rng(2)
  return {name: softmax(rng.normal(size=K) * 2) for name in attention_layers(model, (16, 16))}


def test_a_merged_network_is_the_one_whose_attention_is_frozen(network, weights):
  model, variables, images = network
  merged = {**variables, 'params': merge_kernels(variables['params'], weights)}
  plain = model.clone(num_kernels=1)
  expected = jax.eval_shape(lambda: plain.init(jax.random.key(0), images, train=False))
  assert jax.tree.map(jnp.shape, merged) == jax.tree.map(jnp.shape, expected)
  with replaced_attention(lambda name, own: jnp.broadcast_to(jnp.float32(weights[name]), own.shape)):
    frozen = model.apply(variables, images, train=False)
  np.testing.assert_allclose(plain.apply(merged, images, train=False), frozen, atol=1e-4)
  assert np.abs(frozen - model.apply(variables, images, train=False)).max() > 1e-2


@pytest.mark.parametrize('keep', [1, 2, 3])
def test_a_pruned_network_ignores_the_dropped_kernels_logits(network, weights, keep):
  model, variables, images = network
  pruned = {**variables, 'params': prune_kernels(variables['params'], weights, keep)}
  found = model.clone(num_kernels=keep).apply(pruned, images, train=False)

  def without_dropped(name, own):  # a softmax over some is the softmax over all, scaled to sum to 1 on them
    kept = own * (np.asarray(weights[name]) >= np.sort(weights[name])[-keep])[None]
    return kept / kept.sum(axis=1, keepdims=True)

  with replaced_attention(without_dropped):
    expected = model.apply(variables, images, train=False)
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_pruned_layer_by_hand():
  layer = DynamicConv(features=5, in_channels=32, num_kernels=K, temperature=0.2)
  x = jax.random.normal(jax.random.key(0), (3, 6, 6, 32)) + jnp.arange(3.0)[:, None, None, None]
  params = layer.init(jax.random.key(1), x)['params']
  pruned = prune_kernels({'layer': params, 'other': {'kernels': np.ones(K)}}, {'layer': [0.1, 0.4, 0.2, 0.3]}, keep=2)
  found = layer.clone(num_kernels=2).apply({'params': pruned['layer']}, x)
  hidden = np.maximum(x.mean(axis=(1, 2)) @ params['attention']['squeeze']['kernel'], 0)
  attention = softmax((hidden @ params['attention']['expand']['kernel'])[:, [1, 3]] / 0.2, axis=1)
  assert np.ptp(attention) > 0.2
  expected = sum(attention[:, place, None, None, None] * convolve(x, params['kernels'][kernel], 1)
                 for place, kernel in enumerate((1, 3)))
  np.testing.assert_allclose(found, expected, atol=1e-4)
  np.testing.assert_array_equal(pruned['other']['kernels'], np.ones(K))


def test_of_the_reports_network_a_quarter_of_the_kernels_is_left():
  model = DynamicResNet12(100)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 84, 84, 3)), train=False))['params']
  params = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)
  uniform = dict.fromkeys(attention_layers(model, (84, 84)), np.full(4, 0.25))

  def size(tree):
    return sum(leaf.size for leaf in traverse_util.flatten_dict(tree).values())

  # 9 * 3 * 64 of the stem, 3x3 and 1x1 convolutions of the stages: a kernel each; then norms and the classifier.
  convolutions = 1_728 + (221_184 + 4_096) + (811_008 + 8_192) + (3_244_032 + 32_768)
  assert size(params) == 17_446_699
  assert size(merge_kernels(params, uniform)) == convolutions + 6_400 + 25_700 == 4_355_108
  # A quarter of what the report's network takes, attention and classifier aside.
  assert model_size(model.clone(num_kernels=1), (84, 84)) == {
      'parameters': 4_355_108, 'macs': 328_654_848, 'flops': 657_309_696}
  assert 4 * (328_654_848 - 25_600) + 25_600 + (17_446_699 - 4 * convolutions - 6_400 - 25_700) == 1_314_665_159

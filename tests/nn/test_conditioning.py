"""What a network is told about its channels, and what it does with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.models import DynamicResNet12, ResNet34, WideCNN
from mils_jax.nn import ConditionFeatures, Film, InputChannels, channel_condition, channel_statistics
from mils_jax.nn.conditioning import BOUNDS, STATISTICS

PRESENT = np.array([[1, 1, 0], [0, 1, 1]], bool)


def images(seed=0, shape=(2, 6, 5, 3)):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * np.array([1, 2, 0.1], np.float32)


def test_statistics_are_those_of_float64_numpy_and_zero_where_a_channel_is_missing():
  x = images().astype(np.float64)
  shares = [np.clip(2 * (x - bound), -1, 1).mean((1, 2)) for bound in BOUNDS]
  down, across = (np.abs(np.diff(x, axis=axis)).sum((1, 2)) / 30 for axis in (1, 2))
  sizes = [0.5 * np.log(size + 0.01) for size in (np.sqrt(x.var((1, 2)) + 1e-6), down, across)]
  expected = np.stack([*shares, np.tanh(x.mean((1, 2)) / 2), *sizes], -1) * PRESENT[..., None]
  found = channel_statistics(jnp.asarray(images()), jnp.asarray(PRESENT))
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  assert found.shape == (2, 3, STATISTICS)


def test_statistics_do_not_see_where_values_stand_but_for_their_neighbours():
  x = images()
  mirrored = x[:, ::-1, ::-1]
  everywhere = np.ones((2, 3), bool)
  np.testing.assert_allclose(channel_statistics(x, everywhere), channel_statistics(mirrored, everywhere), atol=1e-6)


@pytest.mark.parametrize('flat', [(2, 6, 5, 3), (2, 1, 1, 3)])
def test_constant_images_have_finite_statistics_and_gradients(flat):
  gradient = jax.grad(lambda x: channel_statistics(x, jnp.asarray(PRESENT)).sum())(jnp.zeros(flat))
  assert np.isfinite(gradient).all()
  assert np.isfinite(channel_statistics(jnp.zeros(flat), jnp.asarray(PRESENT))).all()


def test_the_condition_is_the_mask_then_the_statistics():
  x, present = jnp.asarray(images()), jnp.asarray(PRESENT)
  assert channel_condition('none', x, present) is None
  np.testing.assert_array_equal(channel_condition('presence', x, present), PRESENT)
  both = channel_condition('statistics', x, present)
  np.testing.assert_array_equal(both[:, :3], PRESENT)
  np.testing.assert_array_equal(both[:, 3:], channel_statistics(x, present).reshape(2, -1))


def test_an_unknown_condition_lists_the_valid_ones():
  with pytest.raises(ValueError, match="conditioning 'mask' is none of none, presence, statistics"):
    InputChannels(3, conditioning='mask').init(jax.random.key(0), images())


def test_the_condition_is_of_the_values_before_imputation_and_rescaling():
  plain, changed = (InputChannels(3, conditioning='statistics', **options)
                    for options in ({}, {'imputation': 'learned', 'rescale': True}))
  conditions = []
  for module in (plain, changed):
    params = module.init(jax.random.key(0), images(), PRESENT).get('params', {})
    params = jax.tree.map(lambda value: value + 3.0, params)
    conditions.append(module.apply({'params': params}, images(), PRESENT)[2])
  np.testing.assert_array_equal(*conditions)


def test_film_begins_as_the_identity_and_then_scales_and_shifts_each_feature():
  x, condition = jnp.asarray(images()), jnp.asarray(PRESENT, jnp.float32)
  module = Film(hidden=4)
  variables = module.init(jax.random.key(0), x, condition)
  np.testing.assert_array_equal(module.apply(variables, x, condition), x)
  params = jax.tree.map(lambda value: value + jax.random.normal(jax.random.key(1), value.shape), variables['params'])
  params, condition = jax.tree.map(np.asarray, (params, condition))
  hidden = np.maximum(condition @ params['hidden']['kernel'] + params['hidden']['bias'], 0)
  gain, shift = np.split(hidden @ params['gain_and_shift']['kernel'] + params['gain_and_shift']['bias'], 2, axis=1)
  expected = x * (1 + gain[:, None, None]) + shift[:, None, None]
  np.testing.assert_allclose(module.apply({'params': params}, x, condition), expected, rtol=1e-5, atol=1e-5)


def test_without_a_condition_nothing_is_there():
  x = jnp.asarray(images())
  assert Film().init(jax.random.key(0), x, None) == {}
  pooled, variables = ConditionFeatures().init_with_output(jax.random.key(0), x[:, 0, 0], None, train=True)
  np.testing.assert_array_equal(pooled, x[:, 0, 0])
  assert variables == {}


@pytest.mark.parametrize('network', [
    DynamicResNet12(3, widths=(8,), stem_width=8, blocks=1), ResNet34(3, widths=(8,), blocks=(1,)),
    WideCNN(3, stages=2, width=8)], ids=lambda network: type(network).__name__)
def test_a_missing_channel_can_be_told_from_one_that_is_zero(network):
  """All of a network's conditioned layers learn from the mask: each of their parameters gets a gradient."""
  network = network.clone(conditioning='presence')
  x, everywhere = images(shape=(2, 16, 16, 3)) * (np.arange(3) < 2), np.ones((2, 3), bool)
  variables = network.init(jax.random.key(0), x, train=False)
  leaves, structure = jax.tree.flatten(variables)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  leaves = [leaf + 0.1 * jnp.abs(jax.random.normal(key, leaf.shape)) for leaf, key in zip(leaves, keys, strict=True)]
  variables = jax.tree.unflatten(structure, leaves)
  logits = [network.apply(variables, x, train=False, present=present)
            for present in (everywhere, everywhere & (np.arange(3) < 2))]
  assert np.abs(logits[0] - logits[1]).min() > 1e-4
  gradients = jax.grad(lambda params: network.apply({**variables, 'params': params}, x, train=False).sum())(
      variables['params'])
  conditioned = {name: value for name, value in gradients.items() if 'film' in name or name == 'condition'}
  assert len(conditioned) == 3
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(conditioned))

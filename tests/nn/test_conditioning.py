"""What a network is told about its channels, and what it does with it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.models import DynamicResNet12, ResNet34, WideCNN
from mils_jax.nn import Film, StatisticsClassifier, channel_statistics
from mils_jax.nn.conditioning import CENTRES, SPREADS, STATISTICS

PRESENT = np.array([[1, 1, 0], [0, 1, 1]], bool)


def images(seed=0, shape=(2, 6, 5, 3)):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * np.array([1, 2, 0.1], np.float32)


def test_statistics_are_those_of_float64_numpy_and_zero_where_a_channel_is_missing():
  x = images().astype(np.float64)
  flat = x.reshape(2, 30, 3)
  centred = flat - flat.mean(axis=1, keepdims=True)
  std = np.sqrt(flat.var(axis=1) + 1e-6)
  steps = [np.log(np.abs(np.diff(x, axis=axis)).sum(axis=(1, 2)) / 30 + 1e-3) for axis in (1, 2)]
  expected = np.stack([
      flat.mean(axis=1), np.log(std), np.arcsinh((centred ** 3).mean(axis=1) / std ** 3),
      np.log1p((centred ** 4).mean(axis=1) / std ** 4), np.maximum(centred, 0).mean(axis=1) / std,
      flat.min(axis=1), flat.max(axis=1), *steps], axis=-1)
  expected = (expected - np.array(CENTRES)) / np.array(SPREADS) * PRESENT[..., None]
  found = channel_statistics(jnp.asarray(images()), jnp.asarray(PRESENT))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
  assert found.shape == (2, 3, STATISTICS)


def test_statistics_do_not_see_where_values_stand_but_for_their_neighbours():
  x = images()
  mirrored = x[:, ::-1, ::-1]
  everywhere = np.ones((2, 3), bool)
  np.testing.assert_allclose(channel_statistics(x, everywhere), channel_statistics(mirrored, everywhere), atol=1e-5)


@pytest.mark.parametrize('flat', [(2, 6, 5, 3), (2, 1, 1, 3)])
def test_constant_images_have_finite_statistics_and_gradients(flat):
  gradient = jax.grad(lambda x: channel_statistics(x, jnp.asarray(PRESENT)).sum())(jnp.zeros(flat))
  assert np.isfinite(gradient).all()
  assert np.isfinite(channel_statistics(jnp.zeros(flat), jnp.asarray(PRESENT))).all()


def test_what_rounding_leaves_of_a_constant_image_is_no_distribution():
  """Which it leaves depends on the program: on the size of the batch, and on who sums."""
  constant = np.full((1, 8, 8, 1), 1.7, np.float32)
  rounded = constant + np.float32(2e-7) * (np.arange(64).reshape(constant.shape) % 7)
  assert len(np.unique(rounded)) > 1
  found, exact = (channel_statistics(jnp.asarray(x), jnp.ones((1, 1), bool)) for x in (rounded, constant))
  np.testing.assert_allclose(found, exact, atol=1e-3)
  seen = channel_statistics(jnp.asarray(constant + np.float32(1e-3) * (rounded > constant)), jnp.ones((1, 1), bool))
  assert np.abs(seen - exact).max() > 0.1  # a thousandth is none of its errors


def test_statistics_are_embedded_by_waves_and_classified_with_the_mask():
  x, present = jnp.asarray(images()), jnp.asarray(PRESENT)
  logits, variables = StatisticsClassifier(5, width=4).init_with_output(jax.random.key(0), x, present, train=False)
  params = jax.tree.map(lambda value: np.asarray(value, np.float64), variables['params'])
  own = params['embedding']
  angles = 2 * np.pi * np.asarray(channel_statistics(x, present), np.float64)[..., None] * own['frequencies']
  waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
  embedded = np.maximum(np.einsum('bcsf,csfo->bcso', waves, own['kernel']) + own['bias'], 0)
  values = np.concatenate([PRESENT, (embedded * PRESENT[:, :, None, None]).reshape(2, -1)], axis=1)
  for name in ('hidden1', 'hidden2'):
    values = np.maximum(values @ params[name]['kernel'] + params[name]['bias'], 0)
  np.testing.assert_allclose(logits, values @ params['classifier']['kernel'] + params['classifier']['bias'], rtol=1e-3,
                             atol=1e-4)


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


def test_without_a_condition_film_does_nothing():
  x = jnp.asarray(images())
  output, variables = Film().init_with_output(jax.random.key(0), x, None)
  np.testing.assert_array_equal(output, x)
  assert variables == {}


def test_an_unknown_conditioning_lists_the_valid_ones():
  with pytest.raises(ValueError, match=r"unknown conditioning 'mask'\. Valid: none, presence, statistics"):
    WideCNN(3, stages=2, width=8, conditioning='mask').init(jax.random.key(0), images(), train=False)


@pytest.mark.parametrize('network', [
    DynamicResNet12(3, widths=(8,), stem_width=8, blocks=1), ResNet34(3, widths=(8,), blocks=(1,)),
    WideCNN(3, stages=2, width=8)], ids=lambda network: type(network).__name__)
def test_a_missing_channel_can_be_told_from_one_that_is_zero(network):
  """All of a network's conditioned layers learn from the mask: each of their parameters gets a gradient."""
  network = network.clone(conditioning='presence')
  x, everywhere = images(shape=(2, 16, 16, 3)) * (np.arange(3) < 2), np.ones((2, 3), bool)
  apply = jax.jit(partial(network.apply, train=False))
  variables = jax.jit(partial(network.init, train=False))(jax.random.key(0), x)
  leaves, structure = jax.tree.flatten(variables)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  leaves = [leaf + 0.1 * jnp.abs(jax.random.normal(key, leaf.shape)) for leaf, key in zip(leaves, keys, strict=True)]
  variables = jax.tree.unflatten(structure, leaves)
  logits = [apply(variables, x, present=present)
            for present in (everywhere, everywhere & (np.arange(3) < 2))]
  assert np.abs(logits[0] - logits[1]).min() > 1e-4
  gradients = jax.jit(jax.grad(lambda params: network.apply({**variables, 'params': params}, x, train=False).sum()))(
      variables['params'])
  conditioned = {name: value for name, value in gradients.items() if 'film' in name}
  assert len(conditioned) == 2  # after the stem and a stage, or after two stages
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(conditioned))


def test_opinions_are_averaged_as_probabilities_and_sown_for_training():
  network = WideCNN(3, stages=2, width=8, conditioning='statistics')
  x = images()
  variables = network.init(jax.random.key(0), x, train=False)
  assert set(variables) == {'params', 'batch_stats'}
  logits, sown = network.apply(variables, x, train=False, mutable=['heads'])
  both = np.exp(jax.nn.log_softmax(sown['heads']['logits']))
  assert np.abs(both[0] - both[1]).max() > 1e-3
  np.testing.assert_allclose(np.exp(logits), both.mean(axis=0), rtol=1e-5)
  plain = WideCNN(3, stages=2, width=8, conditioning='presence')
  params = {name: value for name, value in variables['params'].items() if name != 'statistics'}
  alone = plain.apply({**variables, 'params': params}, x, train=False)
  np.testing.assert_allclose(alone, sown['heads']['logits'][0], rtol=1e-5, atol=1e-6)


def test_the_statistics_of_a_chessboard_are_these_numbers():
  board = 0.75 + (-1.0) ** np.add.outer(np.arange(4), np.arange(4))  # mean 0.75, standard deviation 1, kurtosis 1
  found = channel_statistics(jnp.asarray(board[None, :, :, None], jnp.float32), jnp.ones((1, 1), bool))[0, 0]
  # By hand, each less where it usually lies and over how far it spreads: checkpoints depend on these constants.
  expected = [0.75 / 0.75, 1 / 0.7, -0.2 / 0.9, (np.log(2) - 1.6) / 0.5, 0.11 / 0.04, 0.95 / 0.8, 0.25 / 1.2,
              (np.log(1.501) + 1.8) / 0.8, (np.log(1.501) + 1.8) / 0.8]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_frequencies_start_at_half_a_wave_for_each_unit():
  present = jnp.ones((1, 9), bool)
  module = StatisticsClassifier(5)
  assert module.dropout == 0.2
  variables = jax.jit(lambda: module.init(jax.random.key(0), jnp.zeros((1, 4, 4, 9)), present, train=False))()
  frequencies = np.asarray(variables['params']['embedding']['frequencies'])  # (9, 9, 16): 1,296 draws
  assert frequencies.std() == pytest.approx(0.5, rel=0.1)
  assert abs(frequencies.mean()) < 0.07


def test_a_fifth_of_what_the_statistics_classifier_computes_is_dropped_in_training_alone():
  module, there = StatisticsClassifier(3, width=4000), np.ones((2, 3), bool)
  variables = module.init(jax.random.key(0), images(), there, train=False)
  for train, share in ((True, 0.2), (False, 0)):
    _, seen = module.apply(variables, images(), there, train=train, rngs={'dropout': jax.random.key(1)},
                           capture_intermediates=True)
    (before,), (after,) = (seen['intermediates'][name]['__call__'] for name in ('hidden1', 'Dropout_1'))
    assert (np.asarray(after)[np.asarray(before) > 0] == 0).mean() == pytest.approx(share, abs=0.02)

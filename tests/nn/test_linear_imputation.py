"""Linear imputation: what it gathers, what it predicts from it, and what it does where pairs contradict each other."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.nn import InputChannels, LinearImputation
from mils_jax.nn.input_channels import regression_weights

CHANNELS = 3
MODULE = LinearImputation(ridge=0.1)


def batches(seed, steps=3, batch=6, size=4):
  """Steps of images of mixed channels, zero where missing; which are present, and which samples are no padding."""
  rng = np.random.default_rng(seed)
  mix = rng.normal(size=(CHANNELS, CHANNELS))
  present = rng.random((steps, batch, CHANNELS)) < 0.6
  images = (rng.normal(size=(steps, batch, size, size, CHANNELS)) @ mix + rng.normal(size=CHANNELS)).astype(np.float32)
  return images * present[:, :, None, None], present, (rng.random((steps, batch)) < 0.7).astype(np.float32)


def gathered(images, present, mask, module=MODULE):
  variables = module.init(jax.random.key(0), images[0], present[0])
  for step in zip(images, present, mask, strict=True):
    _, variables = module.apply(variables, step[0], step[1], True, step[2], mutable=['batch_stats'])
  return variables


def test_what_is_gathered_are_the_moments_of_the_samples_that_have_both_channels_older_ones_counting_less():
  images, present, mask = batches(0)
  products, samples = 100.0 * np.eye(1 + CHANNELS), np.full((1 + CHANNELS, 1 + CHANNELS), 100.0)
  for image, there, counts in zip(images, present, mask, strict=True):
    products *= 0.999
    samples *= 0.999
    for own, has, true in zip(image.astype(np.float64), there, counts, strict=True):
      values = np.concatenate([np.ones((own[..., 0].size, 1)), own.reshape(-1, CHANNELS)], axis=1)
      has = np.concatenate([[1], has])
      products += true * values.T @ values / len(values)
      samples += true * np.outer(has, has)
  found = gathered(images, present, mask)['batch_stats']
  np.testing.assert_allclose(found['products'], products, rtol=1e-5, atol=1e-4)
  np.testing.assert_allclose(found['samples'], samples, rtol=1e-6)


def test_devices_gather_what_one_gathers_from_the_whole_batch():
  images, present, mask = batches(1, steps=1)
  one = gathered(images, present, mask)
  module = LinearImputation(ridge=0.1, axis_name='device')
  first = module.init(jax.random.key(0), images[0, :1], present[0, :1])

  def step(images, present, mask):
    return module.apply(first, images, present, True, mask, mutable=['batch_stats'])

  split = (values[0].reshape(2, 3, *values.shape[2:]) for values in (images, present, mask))
  predicted, several = jax.vmap(step, axis_name='device')(*split)
  for device in range(2):
    jax.tree.map(lambda own, whole, at=device: np.testing.assert_allclose(own[at], whole, rtol=1e-5, atol=1e-4),
                 several, one)
  expected = MODULE.apply(one, images[0], present[0])
  np.testing.assert_allclose(predicted.reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)


def test_nothing_is_gathered_when_variables_are_made_or_images_classified():
  images, present, _ = batches(2, steps=1)
  variables = MODULE.init(jax.random.key(0), images[0], present[0], True)
  np.testing.assert_array_equal(variables['batch_stats']['products'], 100 * np.eye(1 + CHANNELS))
  _, after = MODULE.apply(variables, images[0], present[0], mutable=['batch_stats'])
  jax.tree.map(np.testing.assert_array_equal, after['batch_stats'], variables['batch_stats'])


def test_before_anything_is_gathered_missing_channels_are_zero():
  images, present, _ = batches(3, steps=1)
  variables = MODULE.init(jax.random.key(0), images[0], present[0])
  assert not np.any(MODULE.apply(variables, images[0], present[0]))


def test_a_channel_that_follows_another_is_predicted_from_it_and_an_independent_one_by_its_mean():
  rng = np.random.default_rng(4)
  first, third = rng.normal(size=(200, 8, 8)), rng.normal(1, 1, (200, 8, 8))
  images = np.stack([first, 0.9 * first + 0.1 * rng.normal(size=first.shape), third], axis=-1).astype(np.float32)
  module = InputChannels(CHANNELS, 'linear')
  variables = module.init(jax.random.key(0), images[:2])
  for _ in range(20):
    _, variables = module.apply(variables, images, None, True, mutable=['batch_stats'])
  only_first = np.broadcast_to([True, False, False], (len(images), CHANNELS))
  filled, _ = module.apply(variables, images, only_first)
  np.testing.assert_array_equal(filled[..., 0], images[..., 0])
  slope, _ = np.polyfit(images[..., 0].ravel(), np.asarray(filled[..., 1]).ravel(), 1)
  np.testing.assert_allclose(slope, 0.9 * 4000 / 4100 / 1.01, atol=0.005)  # what counts as seen before, and the ridge
  np.testing.assert_allclose(filled[..., 2], 1, atol=0.1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_pairs_that_contradict_each_other_give_no_large_weights(seed):
  """As of data sets that have no channel pair in common: each correlation possible, not all of them at once."""
  rng = np.random.default_rng(seed)
  correlations = np.triu(rng.uniform(-1, 1, (5, 5)), 1)
  moments = np.eye(6)
  moments[1:, 1:] += correlations + correlations.T
  present = (rng.random((20, 5)) < 0.5)
  weights = np.asarray(jax.jit(regression_weights)(jnp.asarray(moments, jnp.float32), present, 0.1))
  assert np.isfinite(weights).all()
  assert np.abs(weights).max() < 1000

"""Linear imputation: what it accumulates and predicts, and what it does where pairs contradict each other."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.nn import InputChannels, LinearImputation
from mils_jax.nn.input_channels import nearest_covariance, regression_weights

CHANNELS = 3
MODULE = LinearImputation()


def batches(seed, steps=3, batch=6, size=4):
  """Steps of images of mixed channels, zero where missing; which are present, and which samples are no padding."""
  rng = np.random.default_rng(seed)
  mix = rng.normal(size=(CHANNELS, CHANNELS))
  present = rng.random((steps, batch, CHANNELS)) < 0.6
  images = (rng.normal(size=(steps, batch, size, size, CHANNELS)) @ mix + rng.normal(size=CHANNELS)).astype(np.float32)
  return images * present[:, :, None, None], present, (rng.random((steps, batch)) < 0.7).astype(np.float32)


def accumulated(images, present, mask, module=MODULE):
  variables = module.init(jax.random.key(0), images[0], present[0], False)
  for step in zip(images, present, mask, strict=True):
    _, variables = module.apply(variables, step[0], step[1], True, step[2], mutable=['batch_stats'])
  return variables


def test_accumulated_moments_are_those_of_the_samples_that_have_both_channels_older_ones_counting_less():
  images, present, mask = batches(0)
  sums, sizes = np.zeros(CHANNELS), np.full(CHANNELS, 100.0)
  products, pairs = 100.0 * np.eye(CHANNELS), np.full((CHANNELS, CHANNELS), 100.0)
  for image, there, counts in zip(images, present, mask, strict=True):
    for total in (sums, sizes, products, pairs):
      total *= 0.999
    for own, has, true in zip(image.astype(np.float64).reshape(len(image), -1, CHANNELS), there, counts, strict=True):
      sums += true * own.mean(0)
      sizes += true * has
      products += true * own.T @ own / len(own)
      pairs += true * np.outer(has, has)
  found = accumulated(images, present, mask)['batch_stats']
  np.testing.assert_allclose(found['mean'], sums / sizes, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found['products'], products / pairs, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found['samples'], pairs, rtol=1e-6)
  # Of hundred samples that count as seen and a few, the pairs agree: nothing has to be made possible.
  expected = products / pairs - np.outer(sums / sizes, sums / sizes)
  np.testing.assert_allclose(found['covariance'], expected, rtol=1e-4, atol=1e-5)


def test_devices_accumulate_what_one_accumulates_from_the_whole_batch():
  images, present, mask = batches(1, steps=1)
  one = accumulated(images, present, mask)
  module = LinearImputation(axis_name='device')
  first = module.init(jax.random.key(0), images[0, :1], present[0, :1], False)

  def step(images, present, mask):
    return module.apply(first, images, present, True, mask, mutable=['batch_stats'])

  split = (values[0].reshape(2, 3, *values.shape[2:]) for values in (images, present, mask))
  predicted, several = jax.vmap(step, axis_name='device')(*split)
  for device in range(2):
    jax.tree.map(lambda own, whole, at=device: np.testing.assert_allclose(own[at], whole, rtol=1e-5, atol=1e-5),
                 several, one)
  expected = MODULE.apply(one, images[0], present[0], False)
  np.testing.assert_allclose(predicted.reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)


def test_nothing_is_accumulated_when_variables_are_made_or_images_classified():
  images, present, _ = batches(2, steps=1)
  variables = MODULE.init(jax.random.key(0), images[0], present[0], True)
  np.testing.assert_array_equal(variables['batch_stats']['products'], np.eye(CHANNELS))
  _, after = MODULE.apply(variables, images[0], present[0], False, mutable=['batch_stats'])
  jax.tree.map(np.testing.assert_array_equal, after['batch_stats'], variables['batch_stats'])


def test_before_anything_is_accumulated_missing_channels_are_zero():
  images, present, _ = batches(3, steps=1)
  variables = MODULE.init(jax.random.key(0), images[0], present[0], False)
  assert not np.any(MODULE.apply(variables, images[0], present[0], False))


def test_a_channel_that_follows_another_is_predicted_from_it_and_an_independent_one_by_its_mean():
  rng = np.random.default_rng(4)
  first, third = rng.normal(5, 1, (200, 8, 8)), rng.normal(1, 1, (200, 8, 8))  # a mean is no reason to predict less
  images = np.stack([first, 0.9 * first + 0.1 * rng.normal(size=first.shape), third], axis=-1).astype(np.float32)
  module = InputChannels(CHANNELS, 'linear')
  variables = module.init(jax.random.key(0), images[:2])
  step = jax.jit(lambda variables: module.apply(variables, images, None, True, mutable=['batch_stats'])[1])
  for _ in range(500):
    variables = step(variables)
  only_first = np.broadcast_to([True, False, False], (len(images), CHANNELS))
  filled, _ = module.apply(variables, images, only_first)
  np.testing.assert_array_equal(filled[..., 0], images[..., 0])
  slope, _ = np.polyfit(images[..., 0].ravel(), np.asarray(filled[..., 1]).ravel(), 1)
  np.testing.assert_allclose(slope, 0.9 / 1.01, atol=0.01)  # a ridge of a hundredth
  np.testing.assert_allclose(np.mean(filled[..., 1]), images[..., 1].mean(), atol=0.02)
  np.testing.assert_allclose(filled[..., 2], 1, atol=0.1)


def error_of(covariance, present, true):
  """Root mean square error, in standard deviations, of the worst channel that is predicted by `covariance`."""
  weights = np.asarray(jax.jit(regression_weights)(jnp.asarray(covariance, jnp.float32), present, 0.01), np.float64)
  errors = np.eye(len(true))[None] * ~present[:, None] - weights
  variances = np.einsum('bio,ij,bjo->bo', errors, true, errors)
  return np.sqrt(variances.max())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), channels=st.sampled_from([5, 13, 40]))
def test_pairs_that_were_accumulated_from_different_samples_predict_no_worse_than_the_mean(seed, channels):
  rng = np.random.default_rng(seed)
  places = np.arange(channels)
  true = np.exp(-np.abs(places[:, None] - places) / 8)  # as of neighbouring bands of a spectrum
  noise = np.triu(rng.normal(0, 0.02, true.shape), 1)  # of a correlation that some thousands of samples tell
  covariance = nearest_covariance(jnp.asarray(true + noise + noise.T, jnp.float32))
  np.testing.assert_allclose(np.diagonal(covariance), 1, rtol=1e-5)
  assert error_of(covariance, rng.random((20, channels)) < 0.5, true) < 1.05


def test_channels_that_no_sample_has_both_of_do_not_contradict_the_others():
  """Two sets of data: one with the first and second channel, one with the second and third; all go along."""
  true = np.array([[1, 0.98, 0.98], [0.98, 1, 0.98], [0.98, 0.98, 1]])
  known = np.where([[1, 1, 0], [1, 1, 1], [0, 1, 1]], true, 0)
  present = np.array([[True, True, False], [False, True, True], [False, True, False]])
  assert error_of(nearest_covariance(jnp.asarray(known, jnp.float32)), present, true) < 0.8
  assert error_of(known, present, true) > 3  # as it is


def test_what_was_never_seen_or_never_changes_stays_finite_for_ever():
  images = np.zeros((2, 4, 4, CHANNELS), np.float32)
  images[..., 0] = np.random.default_rng(5).normal(size=(2, 4, 4))
  present = np.array([[True, True, False]] * 2)  # the second is always 0, the third never there
  module = LinearImputation(momentum=0.5)
  variables = module.init(jax.random.key(0), images, present, False)
  step = jax.jit(lambda variables: module.apply(variables, images, present, True, mutable=['batch_stats'])[1])
  for _ in range(400):  # 2^-400 is no float32
    variables = step(variables)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))
  for there in ([True, False, False], [False, True, False], [False, False, True]):
    assert np.isfinite(module.apply(variables, images, np.array([there] * 2), False)).all()

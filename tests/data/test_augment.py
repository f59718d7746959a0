import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.data import augment, mixing
from mils_jax.data.augment import Augmentation
from mils_jax.errors import UserError
from mils_jax.random_streams import sample_keys

DTYPES = ['uint8', 'int16', 'uint16', 'float32']


def inputs(count=64, shape=(6, 6, 2), dtype='uint8', seed=0):
  return np.random.default_rng(seed).integers(1, 200, (count, *shape)).astype(dtype)


def keys(count=64, seed=0):
  return sample_keys(jax.random.key(seed), jnp.arange(count))


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_crop_is_a_window_of_the_zero_padded_image_and_all_windows_occur(dtype):
  images = inputs(count=200, shape=(5, 4, 2), dtype=dtype)
  found = np.asarray(augment.random_crop(keys(200), images, 1))
  assert found.dtype == images.dtype
  padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  seen = set()
  for index in range(200):
    matches = [(y, x) for y, x in itertools.product(range(3), range(3))
               if np.array_equal(found[index], padded[index, y:y + 5, x:x + 4])]
    assert len(matches) == 1
    seen.add(matches[0])
  assert len(seen) == 9


@pytest.mark.parametrize(('function', 'variants'), [
    (augment.random_flip, [lambda x: x, lambda x: x[:, ::-1]]),
    (augment.random_vertical_flip, [lambda x: x, lambda x: x[::-1]]),
    (augment.random_rot90, [lambda x, k=k: np.rot90(x, k) for k in range(4)]),
])
def test_flips_and_rotations_give_each_variant_equally_often(function, variants):
  images = inputs(count=400)
  found = np.asarray(function(keys(400), images))
  assert found.dtype == np.uint8
  counts = np.zeros(len(variants))
  for image, result in zip(images, found, strict=True):
    which = [np.array_equal(variant(image), result) for variant in variants]
    assert sum(which) == 1
    counts[np.argmax(which)] += 1
  assert counts.min() > 400 / len(variants) * 0.75


def test_rot90_wants_squares():
  with pytest.raises(UserError, match='6 x 4'):
    augment.random_rot90(keys(3), inputs(3, (6, 4, 1)))


def test_a_resized_crop_of_the_whole_area_is_nearly_the_image():
  ramp = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None] * 10, (8, 20, 20, 1))
  found = np.asarray(augment.random_resized_crop(keys(8), ramp, 0.9999))
  assert np.abs(found - ramp).max() < 30
  assert found.dtype == np.float32


@pytest.mark.parametrize('smallest', [0.5, 0.75, 0.9, 1.0])
def test_a_resized_crop_has_the_area_that_was_asked_for(smallest):
  rows, columns = np.meshgrid(np.arange(40.0), np.arange(40.0), indexing='ij')
  ramps = np.broadcast_to(np.stack([rows, columns], -1), (200, 40, 40, 2)).astype(np.float32)
  found = np.asarray(augment.random_resized_crop(keys(200), ramps, smallest))
  height = (found[:, 30, 20, 0] - found[:, 10, 20, 0]) / 20
  width = (found[:, 20, 30, 1] - found[:, 20, 10, 1]) / 20
  assert (height * width).min() > smallest - 1e-3
  assert (height * width).max() < 1 + 1e-3
  assert max(height.max(), width.max()) < 1 + 1e-3


def test_a_resized_crop_magnifies_a_part_within_the_image():
  ramp = np.broadcast_to(np.arange(40, dtype=np.float32)[:, None, None], (100, 40, 40, 1))
  found = np.asarray(augment.random_resized_crop(keys(100), ramp, 0.25))[..., 0]
  spans = found[:, 30].mean(1) - found[:, 10].mean(1)  # over half the result's height; 20 in the image itself
  assert found.min() >= 0
  assert found.max() <= 39 + 1e-3
  assert spans.min() > 20 * 0.5 / (4 / 3)**0.5 - 1e-3
  assert spans.max() <= 20 + 1e-3
  assert spans.max() - spans.min() > 3
  small = found[spans < 12]  # parts of under 0.6 of the height: they lie anywhere from the top to the bottom
  assert small[:, 0].mean(1).min() < 3
  assert small[:, -1].mean(1).max() > 36


def test_jitter_is_affine_per_channel_within_its_bounds():
  images = inputs(50, (6, 6, 3), 'int16')
  found = np.asarray(augment.jitter(keys(50), images, 0.2, 0.4), np.float64)
  slopes, gains = [], []
  for image, result in zip(images.astype(np.float64), found, strict=True):
    for channel in range(3):
      slope, offset = np.polyfit(image[..., channel].ravel(), result[..., channel].ravel(), 1)
      np.testing.assert_allclose(slope * image[..., channel] + offset, result[..., channel], rtol=1e-3, atol=1e-2)
      gain = result[..., channel].mean() / image[..., channel].mean()
      slopes.append(slope / gain)
      gains.append(gain)
  assert 0.8 <= min(gains) < 0.85 < 1.15 < max(gains) <= 1.2001
  assert 0.5999 <= min(slopes) < 0.7 < 1.3 < max(slopes) <= 1.4001
  assert np.std(np.reshape(gains, (50, 3)) - np.mean(np.reshape(gains, (50, 3)), 1, keepdims=True)) > 0.05


def masked(zeros, count=16):
  mask = np.ones(count, np.float32)
  mask[list(zeros)] = 0
  return mask


def own_values(count=16, shape=(6, 7, 1)):
  """Images whose every value is their own index, so that a result shows what it was made of."""
  return np.broadcast_to(np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1), (count, *shape))


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 15)), st.integers(0, 1000), st.sampled_from([0.2, 1.0, 5.0]))
def test_mixup_blends_neighbours_labels_as_much_as_pixels_and_never_padding(zeros, seed, alpha):
  mask = masked(zeros)
  images, labels = augment.mixup(keys(16, seed), own_values(), np.eye(16, dtype=np.float32), mask, jnp.arange(16),
                                 alpha)
  images, labels = np.asarray(images), np.asarray(labels)
  check_labels(labels, mask)
  np.testing.assert_allclose(images, np.broadcast_to((labels @ np.arange(16)).reshape(-1, 1, 1, 1), images.shape),
                             atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 15)), st.integers(0, 1000), st.sampled_from([0.2, 1.0, 5.0]))
def test_cutmix_labels_count_the_pixels_and_never_padding(zeros, seed, alpha):
  mask = masked(zeros)
  images, labels = augment.cutmix(keys(16, seed), own_values(), np.eye(16, dtype=np.float32), mask, jnp.arange(16),
                                  alpha)
  images, labels = np.asarray(images), np.asarray(labels)
  check_labels(labels, mask)
  shares = np.stack([(images == index).mean((1, 2, 3)) for index in range(16)], 1)
  np.testing.assert_allclose(shares, labels, atol=1e-5)
  for index, image in enumerate(images[..., 0]):
    foreign = image != index
    rows, columns = foreign.any(1), foreign.any(0)
    assert np.array_equal(foreign, rows[:, None] & columns[None])
    assert np.abs(np.diff(np.concatenate([[0], rows.astype(int), [0]]))).sum() <= 2


def check_labels(labels, mask):
  np.testing.assert_allclose(labels.sum(1), 1, atol=1e-5)
  assert labels.min() >= 0
  for index in range(16):
    partner = index ^ 1
    assert labels[index, [other for other in range(16) if other not in (index, partner)]].sum() == 0
    if mask[index] == 0 or mask[partner] == 0:
      assert labels[index, index] == 1


def test_mixing_does_mix():
  batch = (own_values(), np.eye(16, dtype=np.float32), masked(()), jnp.arange(16), 1.0)
  for mix in (augment.mixup, augment.cutmix):
    labels = np.asarray(mix(keys(16), *batch)[1])
    assert (labels.max(1) < 0.99).sum() > 8
    assert len(np.unique(labels.max(1))) > 8


def test_a_neighbour_on_another_device_is_no_partner():
  _, paired = mixing.partners(np.ones(3, np.float32), jnp.arange(3, 6))
  assert paired.tolist() == [False, True, True]


EVERYTHING = Augmentation(crop_padding=2, horizontal_flip=True, vertical_flip=True, rot90=True,
                          resized_crop_min_area=0.5, brightness=0.2, contrast=0.2, mixup_alpha=0.4, cutmix_alpha=1.0)
EXACT = Augmentation(crop_padding=2, horizontal_flip=True, vertical_flip=True, rot90=True, cutmix_alpha=1.0)


@pytest.mark.parametrize(('augmentation', 'tolerance'), [(EVERYTHING, 1e-3), (EXACT, 0)])
def test_any_number_of_devices_gives_the_same_batch(augmentation, tolerance):
  images, labels, mask = inputs(16), np.eye(16, dtype=np.float32), masked([15])
  positions, key = np.arange(16), jax.random.key(3)
  results = []
  for count in (1, 2, 4):
    parts = [values.reshape(count, -1, *values.shape[1:]) for values in (images, labels, mask, positions)]
    mapped = jax.pmap(augmentation, in_axes=(None, 0, 0, 0, 0), devices=jax.local_devices()[:count])(key, *parts)
    results.append([np.asarray(values).reshape(16, *values.shape[2:]) for values in mapped])
  for other in results[1:]:
    for expected, found in zip(results[0], other, strict=True):
      np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


def test_steps_differ_and_a_step_repeats():
  batch = (inputs(), np.eye(64, dtype=np.float32), np.ones(64, np.float32), jnp.arange(64))
  augment_batch = jax.jit(EXACT)
  first, again, other = (np.asarray(augment_batch(jax.random.key(seed), *batch)[0]) for seed in (0, 0, 1))
  assert np.array_equal(first, again)
  assert not np.array_equal(first, other)


def test_nothing_is_done_by_default_and_the_dtype_stays():
  images, labels = inputs(), np.eye(64, dtype=np.float32)
  found = Augmentation()(jax.random.key(0), images, labels, np.ones(64), jnp.arange(64))
  assert np.array_equal(found[0], images)
  assert np.array_equal(found[1], labels)
  assert EXACT(jax.random.key(0), images, labels, np.ones(64), jnp.arange(64))[0].dtype == np.uint8


@pytest.mark.parametrize(('field', 'value'), [('crop_padding', -1), ('brightness', 1.5), ('contrast', -0.1),
                                              ('mixup_alpha', -1), ('cutmix_alpha', float('nan')),
                                              ('resized_crop_min_area', 2)])
def test_fields_out_of_range_are_named(field, value):
  with pytest.raises(UserError, match=f'augment.{field}='):
    Augmentation(**{field: value})


PINNED = [  # options, value in the first corner of each image, and how much of its own label each keeps
    ({'resized_crop_min_area': 0.3}, [1.803, 12.54, 19.414, 28.286, 38.705, 49.536, 55.166, 64.844], 1),
    ({'crop_padding': 2}, [0, 0, 25, 0, 41, 0, 0, 67], 1),
    ({'horizontal_flip': True}, [1, 10, 19, 30, 37, 46, 57, 64], 1),
    ({'vertical_flip': True}, [1, 16, 19, 28, 37, 46, 55, 64], 1),
    ({'rot90': True}, [7, 16, 21, 30, 37, 46, 55, 70], 1),
    ({'brightness': 0.5}, [0.57891, 9.3073, 14.516, 14.822, 24.691, 46.912, 45.375, 45.576], 1),
    ({'contrast': 0.5}, [2.1695, 11.812, 18.952, 26.761, 36.745, 44.247, 56.349, 62.324], 1),
    ({'mixup_alpha': 0.5}, [1.055, 2.8789, 21.672, 24.092, 37.672, 45.685, 56.047, 55.159],
     [0.9939, 0.2088, 0.7031, 0.5657, 0.9253, 0.9649, 0.8837, 0.0176]),
    ({'cutmix_alpha': 0.5}, [10, 10, 28, 28, 37, 46, 55, 64],
     [0.5556, 0.8889, 0.5556, 1, 0.7778, 0.5556, 0.8889, 0.8889]),
    ({'mixup_alpha': 0.5, 'cutmix_alpha': 0.5}, [1.055, 10, 28, 24.092, 37.672, 45.685, 56.047, 55.159],
     [0.9939, 0.8889, 0.5556, 0.5657, 0.9253, 0.9649, 0.8837, 0.0176]),
]


@pytest.mark.parametrize(('options', 'corners', 'own_labels'), PINNED, ids=lambda value: '+'.join(value)
                         if isinstance(value, dict) else '')
def test_the_draws_of_each_augmentation_are_pinned_so_that_old_runs_can_be_resumed(options, corners, own_labels):
  images = np.arange(1, 73, dtype=np.float32).reshape(8, 3, 3, 1)
  found, labels = Augmentation(**options)(jax.random.key(1), images, np.eye(8, dtype=np.float32),
                                          np.ones(8, np.float32), jnp.arange(8))
  np.testing.assert_allclose(found[:, 0, 0, 0], corners, rtol=1e-3)
  np.testing.assert_allclose(np.diag(labels), np.broadcast_to(own_labels, 8), atol=1e-3)

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.data.moments import Moments


def merged(images, sizes):
  total, start = Moments.none(images.shape[-1]), 0
  for size in [*sizes, len(images)]:
    piece = images[start:start + size]
    total = total.merge(Moments.of(piece)) if len(piece) else total
    start += size
  return total


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.sampled_from(['uint8', 'int16', 'uint16', 'float32']),
       st.lists(st.integers(1, 9), max_size=5), st.integers(0, 9))
def test_pieces_of_any_size_give_the_whole_sets_statistics(count, channels, dtype, sizes, seed):
  random = np.random.default_rng(seed)
  images = (random.random((count, 3, 2, channels)) * 60000 + 500).astype(dtype)
  total = merged(images, sizes)
  np.testing.assert_allclose(total.mean, images.astype(np.float64).mean((0, 1, 2)), rtol=1e-12)
  np.testing.assert_allclose(total.std, images.astype(np.float64).std((0, 1, 2)), rtol=1e-9, atol=1e-9)


def test_a_large_offset_does_not_cancel():
  images = (1e6 + np.random.default_rng(0).normal(size=(40, 5, 5, 1))).astype(np.float32)
  np.testing.assert_allclose(merged(images, [7, 7]).std, images.astype(np.float64).std(), rtol=1e-9)


def test_nonfinite_values_are_left_out():
  images = np.random.default_rng(0).normal(size=(6, 2, 2, 2)).astype(np.float32)
  images[0, 0, 0, 0], images[3, 1, 1, 0] = np.nan, np.inf
  total = merged(images, [2])
  kept = images[..., 0][np.isfinite(images[..., 0])].astype(np.float64)
  assert total.count.tolist() == [22, 24]
  np.testing.assert_allclose([total.mean[0], total.std[0]], [kept.mean(), kept.std()], rtol=1e-9)


def test_a_channel_without_a_finite_value_counts_nothing():
  total = merged(np.full((3, 2, 2, 1), np.nan, np.float32), [1])
  assert (total.count[0], total.mean[0], total.std[0]) == (0, 0, 0)


def test_many_of_the_largest_bytes_do_not_overflow():
  images = np.full((2**17 + 3, 1, 1, 1), 255, np.uint8)
  images[-1] = 0
  total = Moments.of(images)
  np.testing.assert_allclose([total.mean[0], total.std[0]], [images.mean(), images.std()], rtol=1e-9)

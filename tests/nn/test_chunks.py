from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from mils_jax.nn.lowering.choice import CPU
from mils_jax.nn.lowering.chunks import Chunks, by_samples, whole_chunk

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def scaled_convolution(images, kernels, scale):
  """A convolution of stride 1 whose result each sample scales for itself."""
  result = lax.conv_general_dilated(images, kernels, (1, 1), 'SAME', dimension_numbers=DIMENSIONS)
  return result * scale[:, None, None, None]


def arguments(batch):
  return tuple(jax.random.normal(jax.random.key(place), shape) for place, shape in enumerate(
      [(batch, 6, 5, 3), (3, 3, 3, 4), (batch,)]))


@pytest.mark.parametrize('turn', [True, False])
@pytest.mark.parametrize('chunks', [Chunks(6, 6), Chunks(2, 6), Chunks(6, 3), Chunks(2, 3), Chunks(1, 1)])
def test_result_and_gradients_are_the_functions_own(chunks, turn):
  def gradients(function):
    return jax.jit(jax.value_and_grad(lambda *given: jnp.sin(function(*given)).sum(), argnums=(0, 1, 2)))(*arguments(6))

  in_chunks = partial(by_samples, multiply=scaled_convolution, chunks=chunks, turn=turn)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradients(in_chunks),
               gradients(scaled_convolution))


@pytest.mark.parametrize('chunks', [Chunks(6, 6), Chunks(2, 3)])
def test_kernels_and_what_each_sample_has_get_their_gradients_in_a_way_of_their_own(chunks):
  """Seen by a way that is wrong."""
  def twice(*given):
    return 2 * scaled_convolution(*given)

  def gradients(**options):
    _, pull = jax.vjp(partial(by_samples, multiply=scaled_convolution, chunks=chunks, turn=True, **options),
                      *arguments(6))
    return pull(jnp.ones((6, 6, 5, 4)))

  images, kernels, scale = gradients()
  jax.tree.map(np.testing.assert_array_equal, gradients(for_kernels=twice), (images, 2 * kernels, 2 * scale))


@pytest.mark.parametrize('turn', [True, False])
@pytest.mark.parametrize('chunks', [Chunks(4, 4), Chunks(2, 2)])
def test_a_gradient_that_is_no_number_stays_one(chunks, turn):
  result, pull = jax.vjp(partial(by_samples, multiply=scaled_convolution, chunks=chunks, turn=turn), *arguments(4))
  assert all(np.isnan(part).all() for part in pull(jnp.full_like(result, jnp.nan)))


@pytest.mark.parametrize('turn', [True, False])
@pytest.mark.parametrize('chunks', [Chunks(4, 4), Chunks(2, 2)])
@pytest.mark.parametrize('place', [(0, 0, 0, 0), (2, 3, 2, 1)])
def test_a_single_nan_goes_where_the_function_itself_takes_it(chunks, turn, place):
  """To its neighbours of the same sample, wherever it is; the other samples' gradients stay finite."""
  def gradients(function):
    result, pull = jax.vjp(function, *arguments(4))
    return [np.isnan(part) for part in pull(jnp.ones_like(result).at[place].set(jnp.nan))]

  found = gradients(partial(by_samples, multiply=scaled_convolution, chunks=chunks, turn=turn))
  # Of the images alone: whether padding times NaN is one, in the kernels', differs between XLA's own convolutions.
  np.testing.assert_array_equal(found[0], gradients(scaled_convolution)[0])
  assert 0 < found[0].sum() < found[0][place[0]].size
  assert found[1].any()


@pytest.mark.parametrize('chunks', [Chunks(64, 64), Chunks(8, 8)])
def test_intermediate_results_are_not_kept(chunks):
  """On CPU too, where XLA merges what jax.checkpoint computes twice."""
  def wasteful(images, kernels):
    """Four times as many intermediate values as there are images' values, each needed for the kernels' gradient."""
    repeated = jnp.concatenate([jnp.roll(images, shift, axis=1) for shift in range(4)], axis=-1)
    return jnp.einsum('bhwc,cf->bhwf', repeated, kernels.reshape(-1, kernels.shape[-1]))

  images, kernels = jax.ShapeDtypeStruct((64, 16, 16, 32), jnp.float32), jax.ShapeDtypeStruct((2, 2, 32, 32),
                                                                                                jnp.float32)

  def temporaries(function):
    def loss(images, kernels):
      for _ in range(12):
        images = function(images, kernels)
      return images.sum()

    return jax.jit(jax.grad(loss, argnums=1)).lower(images, kernels).compile().memory_analysis().temp_size_in_bytes

  assert temporaries(partial(by_samples, multiply=wasteful, chunks=chunks, turn=False)) < 0.7 * temporaries(wasteful)


@settings(deadline=None)
@given(batch=st.integers(1, 300), most=st.integers(0, 400))
def test_chunks_share_the_batch_equally_and_fill_the_cache(batch, most):
  size = whole_chunk(batch, most, CPU.min_share)
  assert batch % size == 0
  assert size == batch or size <= max(most, 1)
  assert size == batch or 2 * size >= most, 'chunks of less than half of what the cache holds'


def test_a_batch_that_has_no_fitting_divisor_is_computed_at_once():
  cases = ((31, 8), (32, 9), (32, 0), (32, 40))
  assert [whole_chunk(batch, most, CPU.min_share) for batch, most in cases] == [31, 8, 1, 32]

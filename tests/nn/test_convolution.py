from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mils_jax.nn import Conv, DynamicConv, convolve, dynamic_convolve
from mils_jax.nn.lowering.choice import chunks_of, faster_implementation
from mils_jax.nn.lowering.chunks import Chunks
from mils_jax.nn.lowering.gemm import output_size, positions_in_use
from tests.nn import reference


@pytest.mark.parametrize('implementation', ['lax', 'patches', 'auto'])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel_size', [1, 3, 7])
@pytest.mark.parametrize('size', [(8, 8), (9, 6), (1, 2), (1, 1), (3, 2)])
def test_every_way_is_the_convolution_of_its_definition(implementation, stride, kernel_size, size):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *size, 5)).astype(np.float32)
  kernel = rng.normal(size=(kernel_size, kernel_size, 5, 4)).astype(np.float32)
  expected = reference.convolution(x, kernel, stride)
  np.testing.assert_allclose(convolve(x, kernel, stride, implementation), expected, atol=2e-5)
  assert expected.shape[1:3] == tuple(output_size(side, kernel_size, stride) for side in size)


@pytest.mark.parametrize('size', [(8, 8), (9, 6), (5, 7), (1, 2), (1, 1)])
def test_winograds_way_is_as_exact_as_float32_allows(size):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *size, 64)).astype(np.float32)
  kernel = (rng.normal(size=(3, 3, 64, 4)) / 24).astype(np.float32)  # results of standard deviation 1
  expected = reference.convolution(x, kernel, 1)
  errors = {way: np.abs(convolve(x, kernel, 1, way) - expected).max() for way in ('lax', 'winograd')}
  assert errors['winograd'] < 8 * errors['lax'] < 2e-5


def test_ways_refuse_other_kernels_and_strides():
  x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))
  for stride, size in ((2, 3), (1, 1)):
    with pytest.raises(ValueError, match='kernel size 3 and stride 1, not'):
      convolve(x, kernel[:size, :size], stride, 'winograd')
  with pytest.raises(ValueError, match="'taps' is for stride 1"):
    convolve(x, kernel, 2, 'taps')


@pytest.mark.parametrize(('implementation', 'kernel_size', 'stride'), [
    *(('patches', kernel_size, stride) for kernel_size in (1, 3, 7) for stride in (1, 2)), ('winograd', 3, 1)])
@pytest.mark.parametrize('size', [(9, 8), (1, 3)])
def test_every_way_has_the_same_gradients(implementation, kernel_size, stride, size):
  result = tuple(output_size(side, kernel_size, stride) for side in size)
  x, kernel, weights = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(
      [(2, *size, 3), (kernel_size, kernel_size, 3, 4), (2, *result, 4)]))

  def gradients(way):
    def loss(x, kernel):
      return (convolve(x, kernel, stride, way) * weights).sum()

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel)

  for own, lax in zip(gradients(implementation), gradients('lax'), strict=True):
    np.testing.assert_allclose(own, lax, atol=1e-4)


@given(size=st.integers(1, 12), kernel_size=st.sampled_from([1, 3, 5, 7]), stride=st.integers(1, 3))
def test_the_positions_in_use_are_those_that_overlap_the_map(size, kernel_size, stride):
  positions = np.arange(kernel_size)[:, None] + stride * np.arange(output_size(size, kernel_size, stride))
  met = positions - kernel_size // 2
  assert list(positions_in_use(size, kernel_size, stride)) == [
      position for position in range(kernel_size) if ((met[position] >= 0) & (met[position] < size)).any()]


def test_places_that_meet_only_padding_cost_nothing():
  """On a map of one pixel a 3x3 kernel is its centre."""
  x, kernel = jnp.ones((32, 1, 1, 64)), jnp.ones((3, 3, 64, 64))
  compiled = jax.jit(lambda x, kernel: convolve(x, kernel, 1, 'patches')).lower(x, kernel).compile()
  assert compiled.cost_analysis()['flops'] == 2 * 32 * 64 * 64


def test_the_matrices_of_a_chunk_fit_the_cache():
  """8 MiB, or three times all kernels where their gradients are added up; as one where there are no matrices to fit."""
  def chunks(way, gradient_way, batch, side, channels, platform='cpu'):
    x, kernels = jnp.ones((batch, side, side, channels)), jnp.ones((4, 3, 3, channels, channels))
    return chunks_of(platform, way, gradient_way, x, (side, side), kernels, own_kernels=1)

  assert chunks('patches', 'patches', 32, 6, 256) == Chunks(2, 8)  # 2.7 MB for a sample, 28 MB for the kernels thrice
  assert chunks('patches', 'taps', 32, 6, 256) == Chunks(2, 32)  # a ninth of it
  assert chunks('patches', 'taps', 128, 11, 128) == Chunks(4, 64)
  assert chunks('winograd', 'patches', 32, 21, 64) == Chunks(32, 4)
  assert chunks('winograd', 'winograd', 32, 21, 64) == Chunks(32, 32)
  assert chunks('patches', 'patches', 32, 6, 256, 'gpu') == Chunks(32, 32)


def test_the_way_follows_platform_dtype_and_shape():
  kernel = (3, 64, 64)

  def on_cpu(side, kernel, stride=1, dtype=jnp.float32):
    return faster_implementation('cpu', jnp.dtype(dtype), (side, side), kernel, stride)

  assert {faster_implementation(platform, jnp.dtype('float32'), size, kernel, 1) for platform in ('gpu', 'tpu')
          for size in ((1, 1), (84, 84))} == {'lax'}
  assert {on_cpu(side, kernel) for side in (2, 4, 6, 11, 21)} == {'winograd'}
  assert {on_cpu(side, kernel) for side in (1, 3)} == {'patches'}  # too much beyond the border
  assert on_cpu(21, kernel, 2) == on_cpu(84, (3, 3, 64)) == on_cpu(21, (3, 31, 64)) == 'patches'
  assert on_cpu(112, (3, 256, 64), 2) == 'lax'
  assert {on_cpu(side, kernel, dtype=jnp.bfloat16) for side in (2, 11, 21)} == {'patches'}  # too coarse for Winograd


def test_conv_computes_in_its_dtype_and_keeps_float32_parameters():
  layer = Conv(4, dtype=jnp.bfloat16)
  out, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 6, 3)))
  assert out.dtype == jnp.bfloat16
  assert variables['params']['kernel'].dtype == jnp.float32


def exported(function, platform, *arguments):
  """The program that a function's gradients are on a platform, which need not be there."""
  gradients = jax.jit(jax.grad(lambda *given: jnp.sin(function(*given)).sum(), range(len(arguments))))
  return jax.export.export(gradients, platforms=[platform])(*arguments).mlir_module()


@pytest.mark.parametrize('layer', ['convolve', 'dynamic_convolve'])
def test_the_way_is_that_of_the_platform_compiled_for(layer):
  """Not that of the default backend: for CPU matrix products, elsewhere XLA's own convolution, forward and backward."""
  x, kernels, attention = jnp.ones((8, 8, 8, 32)), jnp.ones((2, 3, 3, 32, 32)), jnp.ones((8, 2))
  for platform in ('cpu', 'cuda', 'tpu'):
    program = (exported(convolve, platform, x, kernels[0]) if layer == 'convolve' else
               exported(dynamic_convolve, platform, x, kernels, attention))
    assert (program.count('stablehlo.convolution') >= 3) == (platform != 'cpu')
    assert ('stablehlo.dot_general' in program) == (platform == 'cpu')


def test_a_bfloat16_convolution_does_without_winograds_sums():
  """On CPU, too, where that is the way of the same convolution in float32."""
  x, kernel = (jax.random.normal(jax.random.key(number), shape, jnp.bfloat16)
               for number, shape in enumerate([(2, 8, 8, 64), (3, 3, 64, 64)]))
  np.testing.assert_array_equal(convolve(x, kernel, implementation='cpu'),
                                convolve(x, kernel, implementation='patches'))
  assert (convolve(x, kernel, implementation='winograd') != convolve(x, kernel, implementation='patches')).any()


@pytest.mark.parametrize('kernel_size', [2, 4, 0])
def test_a_kernel_without_a_centre_is_refused(kernel_size):
  message = f'kernel_size={kernel_size}: must be odd'
  for make in (partial(Conv, 4), partial(DynamicConv, 4, 3)):
    with pytest.raises(ValueError, match=message):
      make(kernel_size)
  x, kernels = jnp.ones((1, 4, 4, 2)), jnp.ones((1, kernel_size, kernel_size, 2, 3))
  with pytest.raises(ValueError, match=message):
    convolve(x, kernels[0])
  with pytest.raises(ValueError, match=message):
    dynamic_convolve(x, kernels, jnp.ones((1, 1)))


def test_forward_mode_differentiation_is_laxs_alone():
  x, kernel = jax.random.normal(jax.random.key(0), (1, 4, 4, 2)), jax.random.normal(jax.random.key(1), (3, 3, 2, 3))
  _, tangent = jax.jvp(lambda x: convolve(x, kernel, implementation='lax'), (x,), (x,))
  np.testing.assert_allclose(tangent, convolve(x, kernel), atol=1e-5)  # linear in x
  with pytest.raises(TypeError, match='forward-mode'):
    jax.jvp(lambda x: convolve(x, kernel, implementation='cpu'), (x,), (x,))


@pytest.mark.parametrize('layer', [Conv(64), DynamicConv(64, 32)], ids=lambda layer: type(layer).__name__)
def test_kernels_are_drawn_as_he_et_al_draw_them(layer):
  """Of variance 2 / (k k C), whatever K is, and none beyond two standard deviations of the normal before its cut."""
  params = layer.init(jax.random.key(0), jnp.ones((1, 4, 4, 32)))['params']
  kernels = params['kernel' if 'kernel' in params else 'kernels']
  std = np.sqrt(2 / (9 * 32))
  assert kernels.shape[-4:] == (3, 3, 32, 64)
  np.testing.assert_allclose(kernels.reshape(-1, kernels[..., 0].size, 64).std(axis=(1, 2)), std, rtol=0.02)
  np.testing.assert_allclose(kernels.mean(), 0, atol=std / 50)
  np.testing.assert_allclose(np.abs(kernels).max(), 2 * std / 0.87962566, rtol=0.01)


def test_the_limits_between_ways_on_a_cpu():
  """One side of each limit and the other, as they were measured."""
  def way(height, width, kernel, stride=1):
    return faster_implementation('cpu', jnp.dtype('float32'), (height, width), kernel, stride)

  assert [way(8, 8, (3, channels, 32)) for channels in (31, 32)] == ['patches', 'winograd']
  assert [way(8, 8, (3, 32, features)) for features in (31, 32)] == ['patches', 'winograd']
  assert [way(1, width, (3, 32, 32)) for width in (4, 8)] == ['patches'] * 2  # 2 and 4 tiles of 4 positions
  assert [way(3, width, (3, 32, 32)) for width in (7, 8)] == ['patches', 'winograd']  # 32 of 21, 32 of 24
  assert [way(64, width, (1, 512, 8)) for width in (64, 65)] == ['patches', 'lax']

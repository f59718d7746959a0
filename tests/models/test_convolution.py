import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.models.convolution import Conv, convolution_form, convolve, output_size
from tests.models import reference


@pytest.mark.parametrize('form', ['lax', 'patches', 'auto'])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel_size', [1, 3, 7])
@pytest.mark.parametrize('size', [(8, 8), (9, 6), (1, 2)])
def test_every_form_is_the_convolution_of_its_definition(form, stride, kernel_size, size):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *size, 5)).astype(np.float32)
  kernel = rng.normal(size=(kernel_size, kernel_size, 5, 4)).astype(np.float32)
  expected = reference.convolution(x, kernel, stride)
  np.testing.assert_allclose(convolve(x, kernel, stride, form), expected, atol=2e-5)
  assert expected.shape[1:3] == tuple(output_size(side, kernel_size, stride) for side in size)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel_size', [1, 3, 7])
def test_both_forms_have_the_same_gradients(stride, kernel_size):
  x, kernel, weights = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(
      [(2, 9, 8, 3), (kernel_size, kernel_size, 3, 4), (2, output_size(9, kernel_size, stride),
                                                        output_size(8, kernel_size, stride), 4)]))

  def gradients(form):
    return jax.grad(lambda x, kernel: (convolve(x, kernel, stride, form) * weights).sum(), argnums=(0, 1))(x, kernel)

  for patches, lax in zip(gradients('patches'), gradients('lax'), strict=True):
    np.testing.assert_allclose(patches, lax, atol=1e-4)


def test_the_form_follows_backend_and_shape():
  assert {convolution_form(backend, values) for backend in ('gpu', 'tpu') for values in (1, 2**30)} == {'lax'}
  assert convolution_form('cpu', 21 * 21 * 9 * 256) == 'patches'
  assert convolution_form('cpu', 112 * 112 * 9 * 256) == 'lax'


def test_conv_computes_in_its_dtype_and_keeps_float32_parameters():
  layer = Conv(4, dtype=jnp.bfloat16)
  out, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 6, 3)))
  assert out.dtype == jnp.bfloat16
  assert variables['params']['kernel'].dtype == jnp.float32

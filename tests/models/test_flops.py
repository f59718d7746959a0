import jax
import jax.numpy as jnp
import pytest

from mils_jax.models.flops import compiled_cost, count_multiply_adds


def total(function, *arguments):
  return sum(count_multiply_adds(function, *arguments).values())


def test_counts_products_by_their_definition():
  a, b = jnp.ones((3, 4, 5)), jnp.ones((3, 5, 6))
  assert total(lambda a, b: a @ b, a, b) == 3 * 4 * 5 * 6
  assert total(lambda a: jnp.tanh(a) + a * a, a) == 0


def test_counts_convolutions_with_stride_and_groups():
  x, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 6))
  convolve = jax.lax.conv_general_dilated
  numbers = ('NHWC', 'HWIO', 'NHWC')
  assert total(lambda x, k: convolve(x, k, (2, 2), 'SAME', dimension_numbers=numbers), x, kernel) == 2 * 16 * 9 * 4 * 6
  grouped = jnp.ones((3, 3, 2, 6))
  assert total(lambda x, k: convolve(x, k, (1, 1), 'SAME', dimension_numbers=numbers, feature_group_count=2),
               x, grouped) == 2 * 64 * 9 * 2 * 6


def test_looks_inside_calls_and_counts_a_loop_as_often_as_it_runs():
  a = jnp.ones((4, 4))
  assert total(jax.jit(lambda a: jax.checkpoint(lambda a: a @ a)(a)), a) == 64
  assert total(lambda a: jax.lax.scan(lambda c, _: (c @ a, None), a, None, length=7)[0], a) == 7 * 64
  assert total(jax.grad(lambda a: (a @ jnp.ones((4, 4))).sum()), a) == 2 * 64


def test_xla_counts_a_multiply_and_an_add_as_two():
  cost = compiled_cost(lambda a, b: a @ b, jax.ShapeDtypeStruct((16, 32), jnp.float32),
                       jax.ShapeDtypeStruct((32, 8), jnp.float32))
  assert cost.flops == pytest.approx(2 * 16 * 32 * 8, rel=0.01)
  assert cost.bytes_accessed >= 4 * (16 * 32 + 32 * 8 + 16 * 8)

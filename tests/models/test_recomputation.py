import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.models.recomputation import recomputed


def chain(x, matrix):
  for _ in range(6):
    x = jnp.tanh(x @ matrix)
  return x


def test_the_gradient_is_the_functions_own():
  x, matrix = jax.random.normal(jax.random.key(0), (8, 5)), jax.random.normal(jax.random.key(1), (5, 5))

  def gradients(function):
    return jax.jit(jax.value_and_grad(lambda *both: jnp.square(function(*both)).sum(), argnums=(0, 1)))(x, matrix)

  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
               gradients(recomputed(chain)), gradients(chain))


def test_a_gradient_that_is_no_number_stays_one():
  _, pull = jax.vjp(recomputed(chain), jnp.ones((2, 5)), jnp.eye(5))
  assert all(np.isnan(part).all() for part in pull(jnp.full((2, 5), jnp.nan)))


def test_intermediate_results_are_not_kept():
  """On CPU too, where XLA merges what jax.checkpoint computes twice."""
  x, matrix = jax.ShapeDtypeStruct((4096, 64), jnp.float32), jax.ShapeDtypeStruct((64, 64), jnp.float32)

  def temporaries(function):
    def loss(x, matrix):
      for _ in range(4):
        x = function(x, matrix)
      return x.sum()

    return jax.jit(jax.grad(loss, argnums=1)).lower(x, matrix).compile().memory_analysis().temp_size_in_bytes

  assert temporaries(recomputed(chain)) < 0.7 * temporaries(chain)

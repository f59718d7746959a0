"""Intermediate results that are computed again for the gradient instead of being kept."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def recomputed(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
  """`function`, of which only the arguments are kept for its gradient.

  As jax.checkpoint, but for CPUs, too: there XLA drops the barrier that jax.checkpoint relies on, finds the same
  computation twice, does it once, and keeps everything. It does not look into the branches of a condition.

  Args:
    function: of float arrays, with one array as its result.
  """

  @jax.custom_vjp
  def run(*arguments: jax.Array) -> jax.Array:
    return function(*arguments)

  def forward(*arguments: jax.Array) -> tuple[jax.Array, tuple]:
    return function(*arguments), arguments

  def backward(arguments: tuple, gradient: jax.Array) -> tuple[Any, ...]:
    def gradients(arguments: tuple, gradient: jax.Array) -> tuple:
      return jax.vjp(function, *arguments)[1](gradient)

    def no_numbers(arguments: tuple, _: jax.Array) -> tuple:
      return tuple(jnp.full_like(argument, jnp.nan) for argument in arguments)

    first = gradient.reshape(-1)[0]
    return lax.cond(jnp.isnan(first), no_numbers, gradients, arguments, gradient)  # a NaN there leaves none anyway

  run.defvjp(forward, backward)
  return run

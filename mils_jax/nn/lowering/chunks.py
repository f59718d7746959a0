"""Computes a convolution for a few samples at a time, and keeps only its arguments for the gradient.

The matrices that a convolution is computed from are several times as large as its image, and larger still where each
sample has its own kernel. So they are made for as many samples at once as fit in the cache, and are recomputed for the
gradient instead of being kept.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@dataclasses.dataclass(frozen=True)
class Chunks:
  """The number of samples that are computed at once.

  Attributes:
    forward: number for the result, and for the gradient of the images.
    backward: number for the gradients of the kernels, which are summed over chunks.
  """

  forward: int
  backward: int


def whole_chunk(batch: int, most: int, min_share: float) -> int:
  """The largest divisor of `batch` up to `most`, or `batch` where that is less than `min_share` of `most`."""
  largest = next(size for size in range(max(min(most, batch), 1), 0, -1) if batch % size == 0)
  return largest if largest >= min_share * most else batch


# Compiled, so that a network's equal layers are traced once.
@partial(jax.jit, static_argnames=('multiply', 'chunks', 'turn', 'for_kernels'))
def by_samples(images: jax.Array, kernels: jax.Array, *own: jax.Array, multiply: Callable[..., jax.Array],
               chunks: Chunks, turn: bool, for_kernels: Callable[..., jax.Array] | None = None) -> jax.Array:
  """Computes `multiply` in chunks of samples, and keeps only the arguments for its gradient.

  Args:
    images: (B, H, W, C).
    kernels: (..., k, k, C, features), shared by all samples.
    *own: (B, ...) further arrays, one row per sample.
    multiply: (images, kernels, *own) -> (B, H', W', features), a convolution of each image, linear in the images
      and in the kernels. It must be hashable by value: a module-level function, or a frozen dataclass.
    chunks: how many samples each chunk has.
    turn: whether the gradient of the images is computed as the convolution of the result's gradient with the flipped
      kernels, which a convolution of stride 1 allows; else it is multiply's own.
    for_kernels: the same function as `multiply`, in an implementation for the gradient of the kernels where `turn` is
      set; None: multiply itself.
  """

  @jax.custom_vjp
  def run(images: jax.Array, kernels: jax.Array, *own: jax.Array) -> jax.Array:
    return _in_chunks(lambda images, *own: multiply(images, kernels, *own), chunks.forward, images, *own)

  def forward(*arguments: jax.Array) -> tuple[jax.Array, tuple]:
    return run(*arguments), arguments

  def backward(arguments: tuple, gradient: jax.Array) -> tuple[Any, ...]:
    images, kernels, *own = arguments

    def gradients(gradient: jax.Array, images: jax.Array, *own: jax.Array) -> tuple:
      if turn:
        return None, *jax.vjp(partial(for_kernels or multiply, images), kernels, *own)[1](gradient)
      return jax.vjp(multiply, images, kernels, *own)[1](gradient)

    if chunks.backward < len(images):
      found = _summed_over_chunks(gradients, kernels, chunks.backward, gradient, images, *own)
    else:
      found = _apart(gradients, gradient, images, *own)
    if turn:
      turned = jnp.flip(kernels, (-4, -3)).swapaxes(-2, -1)
      convolution = run if chunks.forward < len(images) else partial(_apart, run)  # a loop already separates it
      return convolution(gradient, turned, *own), *found[1:]
    return found

  run.defvjp(forward, backward)
  return run(images, kernels, *own)


def _in_chunks(function: Callable[..., jax.Array], size: int, *samples: jax.Array) -> jax.Array:
  if size >= len(samples[0]):
    return function(*samples)
  return _joined(lax.map(lambda chunk: function(*chunk), _split(samples, size)))


def _summed_over_chunks(gradients: Callable[..., tuple], kernels: jax.Array, size: int, *samples: jax.Array) -> tuple:
  """`gradients` over chunks of samples: the second part, that of `kernels`, is summed in float32, others are joined."""
  def add(total: jax.Array, chunk: tuple) -> tuple:
    images, of_kernels, *own = gradients(*chunk)
    return total + of_kernels, (images, *own)

  total, (images, *own) = lax.scan(add, jnp.zeros(kernels.shape), _split(samples, size))
  return _joined(images), total.astype(kernels.dtype), *_joined(own)


def _split(arrays: Any, size: int) -> Any:
  return jax.tree.map(lambda array: array.reshape(-1, size, *array.shape[1:]), arrays)


def _joined(arrays: Any) -> Any:
  return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), arrays)


def _apart(function: Callable, *arguments: jax.Array) -> Any:
  """Applies `function` where XLA can neither see what it does nor merge it with the code around it.

  On CPU, XLA drops the barrier that jax.checkpoint relies on, merges the two equal computations, and keeps everything:
  DynamicResNet12's step at 32x32, batch 128, then takes 218 MB of temporary memory instead of 98. It also does not
  store flipped kernels, but reads the original ones strided for each of Winograd's sixteen sums: a step of ResNet34 at
  84x84, batch 32, takes 410 instead of 358 ms, of DynamicResNet12 at 32x32, batch 32, 235 instead of 186 (two cores
  with AVX-512, jax 0.10.2, medians of five to nine rounds: docs/performance.md). XLA does not look into the branches of
  a condition unless it knows which one is taken; the barrier is around the predicate, so nothing is read or written for
  it.
  """
  def never(*arguments: jax.Array) -> Any:
    return jax.tree.map(lambda found: jnp.zeros(found.shape, found.dtype), jax.eval_shape(function, *arguments))

  return lax.cond(lax.optimization_barrier(jnp.array(True)), function, never, *arguments)

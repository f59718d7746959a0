"""Stateless random streams: each key is a function of (root seed, stream name, step)."""

import zlib

import jax


def stream_key(seed: int, stream: str, step: jax.Array | int = 0) -> jax.Array:
  """The key of one stream at one step, the same in every process and after every resume.

  Args:
    seed: seed of the run.
    stream: name of the stream, such as 'augment' or 'dropout'.
    step: step of the run.
  """
  return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode())), step)


def sample_keys(key: jax.Array, positions: jax.Array) -> jax.Array:
  """(N,) keys, one for each global index (N,) in the batch of all devices, independent of the device."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, positions)

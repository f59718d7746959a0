"""Random streams that need no memory: each key is a function of (root seed, stream name, step)."""

import zlib

import jax


def stream_key(seed: int, stream: str, step: jax.Array | int = 0) -> jax.Array:
  """The key of one stream at one step; the same whenever and wherever it is asked for.

  Args:
    seed: of the run.
    stream: its name, such as 'augment' or 'dropout'.
    step: of the run.
  """
  return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode())), step)


def sample_keys(key: jax.Array, positions: jax.Array) -> jax.Array:
  """(N,) keys, one for each position (N,) in the batch of all devices, whichever device holds it."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, positions)

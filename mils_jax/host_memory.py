"""How the C library hands out the host's memory, which on CPU takes up to a third of a training step's time."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8  # of glibc's malloc.h
LARGEST = 2**31 - 1
AT_ONCE = 2**28  # bytes that are asked of the system beyond what is needed


def keep_freed_memory() -> bool:
  """Lets freed memory be used again instead of going back to the system; True where the C library can do so.

  XLA's CPU backend allocates its temporaries, hundreds of megabytes, anew in every step. By default glibc maps them
  afresh each time, and the system clears every page of them at its first touch (docs/performance.md has the figures,
  and what it costs in memory). Call it before the first computation.
  """
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (AttributeError, OSError, TypeError):  # another C library than glibc
    return False
  options = ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, LARGEST), (M_TOP_PAD, AT_ONCE),
             (M_ARENA_MAX, 1))  # only the first arena can grow so far
  return all(mallopt(*option) for option in options)

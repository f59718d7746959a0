"""A packing process: takes pieces on standard input, answers on standard output, ends with its input.

It is started as a program of its own, neither forked (the parent runs JAX's threads) nor spawned by multiprocessing
(which would run the user's main program again).
"""

import os
import pickle
import sys
import traceback

from mils_jax.data.cache.pieces import pack_piece


def main() -> None:
  answers = os.fdopen(os.dup(1), 'wb')
  os.dup2(2, 1)  # what a library prints must not mix with the answers
  requests = sys.stdin.buffer
  source = pickle.load(requests)
  while True:
    try:
      piece = pickle.load(requests)
    except EOFError:
      return
    try:
      answer = pack_piece(source, piece)
    except Exception as error:
      answer = _portable(error)
    pickle.dump(answer, answers)
    answers.flush()


def _portable(error: Exception) -> Exception:
  """The error itself where it survives pickling, else one with its traceback as text."""
  try:
    return pickle.loads(pickle.dumps(error))
  except Exception:
    return RuntimeError(''.join(traceback.format_exception(error)))


if __name__ == '__main__':
  main()

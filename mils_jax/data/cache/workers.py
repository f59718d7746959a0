"""Runs pieces of packing on several processes, in order."""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mils_jax.data.cache.pieces import Piece, PieceResult, pack_piece
from mils_jax.data.sources.source import Source
from mils_jax.errors import RunError

PIECES_PER_PROCESS = 4  # with fewer, starting a process costs more than it saves


def available_cores() -> int:
  """How many cores this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@contextlib.contextmanager
def packed_pieces(source: Source, pieces: Sequence[Piece]) -> Iterator[Iterator[PieceResult]]:
  """Yields an iterator over the results of all pieces, in their order; the first error in that order is raised.

  Where decoding is what takes the time and there is enough of it, every core does some: this process on one thread,
  and another process per further core.
  """
  processes = min(available_cores(), len(pieces) // PIECES_PER_PROCESS) if source.decodes else 1
  if processes < 2:
    yield (pack_piece(source, piece) for piece in pieces)
    return
  with contextlib.ExitStack() as stack:
    idle: queue.SimpleQueue[subprocess.Popen | None] = queue.SimpleQueue()
    idle.put(None)  # stands for this process, which need not be started first
    started = [stack.enter_context(_process()) for _ in range(processes - 1)]
    pool = ThreadPoolExecutor(processes)
    stack.callback(pool.shutdown, cancel_futures=True)

    def introduce(process: subprocess.Popen) -> None:
      with contextlib.suppress(BrokenPipeError):  # one that has died says so when it is asked
        pickle.dump(source, process.stdin)
      idle.put(process)

    def run(piece: Piece) -> PieceResult:
      process = idle.get()
      try:
        return _ask(process, piece) if process else pack_piece(source, piece)
      finally:
        idle.put(process)

    for process in started:
      pool.submit(introduce, process)
    futures = [pool.submit(run, piece) for piece in pieces]
    yield (future.result() for future in futures)


@contextlib.contextmanager
def _process() -> Iterator[subprocess.Popen]:
  root = str(Path(__file__).resolve().parents[2])
  path = os.pathsep.join([root, *filter(None, [os.environ.get('PYTHONPATH')])])
  process = subprocess.Popen([sys.executable, '-m', 'mils_jax.data.cache.pack_worker'], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': path})
  try:
    yield process
  finally:
    process.kill()  # it holds nothing that would have to be saved
    with contextlib.suppress(BrokenPipeError):
      process.stdin.close()
    process.stdout.close()
    process.wait()


def _ask(process: subprocess.Popen, piece: Piece) -> PieceResult:
  try:
    pickle.dump(piece, process.stdin)
    process.stdin.flush()
    answer = pickle.load(process.stdout)
  except (EOFError, BrokenPipeError) as error:
    raise RunError(f'a packing process died (exit code {process.poll()}), perhaps for lack of memory; '
                   'nothing was kept, start again') from error
  if isinstance(answer, Exception):
    raise answer
  return answer

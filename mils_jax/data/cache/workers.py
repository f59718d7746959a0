"""Builds the pieces of a dataset cache on several processes, in order."""

import contextlib
import functools
import multiprocessing
import os
import pickle
import queue
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from mils_jax.data.cache.pieces import Piece, PieceResult, build_piece
from mils_jax.data.sources.source import Source
from mils_jax.errors import RunError

PIECES_PER_PROCESS = 4  # with fewer, starting a process costs more than it saves

_source: Source  # a worker's own


def available_cores() -> int:
  """Number of cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@contextlib.contextmanager
def built_pieces(source: Source, pieces: Sequence[Piece], scratch: Path) -> Iterator[Iterator[PieceResult]]:
  """Yields an iterator over the results of all pieces, in their order; the first error in that order is raised.

  Where decoding takes most of the time and there are enough images, every core decodes: this process on one thread,
  and a worker for each further core.

  Args:
    source: where the images come from.
    pieces: what to build.
    scratch: a folder that the workers can read.

  Raises:
    RunError: a worker died.
  """
  processes = min(available_cores(), len(pieces) // PIECES_PER_PROCESS) if source.decodes else 1
  here = functools.partial(build_piece, source)
  if processes < 2:
    yield map(here, pieces)
    return
  with contextlib.ExitStack() as stack:
    # In a file: sent through its pipe, a long list of images would wait for each process to start, one after the other.
    pickled = stack.enter_context(tempfile.NamedTemporaryFile(dir=scratch))
    pickle.dump(source, pickled)
    pickled.flush()
    spawn = multiprocessing.get_context('spawn')  # forking would copy the locks of JAX's threads as they are
    pool = ProcessPoolExecutor(processes - 1, spawn, _start_worker, (pickled.name,))
    stack.callback(pool.shutdown, cancel_futures=True)
    threads = ThreadPoolExecutor(processes)
    stack.callback(threads.shutdown, cancel_futures=True)
    idle: queue.SimpleQueue[Callable[[Piece], PieceResult]] = queue.SimpleQueue()
    idle.put(here)
    others = multiprocessing.active_children()
    for _ in range(processes - 1):  # a worker is idle once it has started
      pool.submit(os.getpid).add_done_callback(lambda _: idle.put(lambda piece: pool.submit(_build, piece).result()))
    for worker in set(multiprocessing.active_children()).difference(others):
      stack.callback(worker.kill)  # it holds nothing that would have to be saved, and may not even have started

    def build(piece: Piece) -> PieceResult:
      builder = idle.get()
      try:
        return builder(piece)
      finally:
        idle.put(builder)

    try:
      yield threads.map(build, pieces)
    except BrokenProcessPool as error:
      raise RunError('a process that builds the dataset cache died, perhaps for lack of memory; nothing was kept, '
                     'run the same command again') from error


def _start_worker(path: str) -> None:
  global _source
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends the workers
  threading.Thread(target=_end_with_parent, daemon=True).start()
  with open(path, 'rb') as file:
    _source = pickle.load(file)


def _end_with_parent() -> None:
  """Ends this worker when its parent has died, in whatever way: the pool's own queue would wait forever."""
  parent = multiprocessing.parent_process()
  assert parent is not None  # this is a child process
  parent.join()
  os._exit(1)


def _build(piece: Piece) -> PieceResult:
  return build_piece(_source, piece)

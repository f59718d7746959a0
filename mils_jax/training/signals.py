"""SIGTERM, SIGINT, SIGHUP and SIGUSR1: the current step finishes and is saved; a second one ends the process at once.

Several processes must stop after the same step. JAX's preemption service, which `jax.distributed.initialize` starts,
sees to that: it hears SIGTERM itself, on whichever process, and finds a step that none of them has begun. Ctrl-C and
the others are passed on to it as a SIGTERM; a second one ends its process at once, and JAX then ends the others.
https://docs.jax.dev/en/latest/_autosummary/jax.experimental.multihost_utils.reached_preemption_sync_point.html
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from jax.experimental import multihost_utils

from mils_jax.distributed import processes
from mils_jax.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # the last two: some schedulers' warnings


class StopSignals:
  """While entered, turns the first signal into `Stopped`, raised where it arrives or, when deferred, a little later.

  With several processes it is raised by the training loop alone, which asks `after_step`. Where it arrives may be a
  callback of Python's own, which ignores what is raised: so it is raised again at the end, and where another one is
  entered within.
  """

  def __init__(self):
    self._number = 0  # of the signal that came
    self._deferred = False
    self._undo = contextlib.ExitStack()

  def __enter__(self) -> 'StopSignals':
    outer = getattr(signal.getsignal(signal.SIGINT), '__self__', None)
    if isinstance(outer, StopSignals) and outer._number:
      raise Stopped(outer._number)
    seen, told = os.pipe()
    os.set_blocking(told, False)
    threading.Thread(target=self._watch, args=(seen,), name='signals', daemon=True).start()
    self._undo.callback(os.close, told)  # which ends the thread
    self._undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told, warn_on_full_buffer=False))
    for number in SIGNALS:
      if number == signal.SIGTERM and processes.count() > 1:  # it is then JAX's
        continue
      if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:  # as nohup asks for
        continue
      self._undo.callback(signal.signal, number, signal.signal(number, self._receive))
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    self._undo.close()
    if kind is None and self._number:
      raise Stopped(self._number)

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """Within, a signal is only noted, so that no step or save is torn; it is raised at the outermost's end."""
    outer, self._deferred = self._deferred, True
    try:
      yield
    finally:
      self._deferred = outer
    if self._number and not outer:
      raise Stopped(self._number)

  def after_step(self, step: int) -> int:
    """The signal for which all processes stop after this step; 0: they go on.

    With several processes, to be asked after every training step. It takes 30 microseconds.
    """
    if processes.count() > 1:
      return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else 0
    return self._number

  def _receive(self, number: int, _: FrameType | None) -> None:
    if processes.count() > 1:
      signal.raise_signal(signal.SIGTERM)
    elif not self._number:  # at the second one, the thread ends the process
      self._number = number
      if not self._deferred:
        raise Stopped(number)

  def _watch(self, seen: int) -> None:
    """Ends the process at the second signal, on a thread: Python hears none inside of a long call such as compiling."""
    came = 0
    while number := os.read(seen, 1):
      came += number[0] in SIGNALS
      if came == 2:
        os.write(2, b'stopped at once. Run the same command to resume from the last checkpoint\n')
        os._exit(128 + number[0])
    os.close(seen)

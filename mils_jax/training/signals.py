"""SIGTERM and SIGINT: the current step finishes and is saved; a second signal ends the process at once.

Of several processes the first one stops, saves and ends the run; a signal to another one is passed on to it.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from mils_jax.distributed import processes
from mils_jax.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAME_SECONDS = 5  # within which a signal that comes again, by way of another process or the launcher, is the same one


class StopSignals:
  """While entered, turns the first signal into `Stopped`, raised where it arrives or, when deferred, a little later.

  Attributes:
    number: the signal that came, 0 while none has.
  """

  def __init__(self):
    self.number = 0
    self._deferred = False
    self._undo = contextlib.ExitStack()

  def __enter__(self) -> 'StopSignals':
    seen, told = os.pipe()
    os.set_blocking(told, False)
    threading.Thread(target=self._watch, args=(seen,), name='signals', daemon=True).start()
    self._undo.callback(os.close, told)  # which ends the thread
    self._undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told, warn_on_full_buffer=False))
    for number in SIGNALS:
      self._undo.callback(signal.signal, number, signal.signal(number, self._receive))
    return self

  def __exit__(self, *_: object) -> None:
    self._undo.close()

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """Within, a signal only sets `number`, so that no step or save is torn; it is raised at the outermost's end."""
    outer, self._deferred = self._deferred, True
    try:
      yield
    finally:
      self._deferred = outer
    if self.number and not outer:
      raise Stopped(self.number)

  def _receive(self, number: int, _: FrameType | None) -> None:
    if not processes.is_first():
      processes.ask_first('stop', number)
      return
    if self.number:  # the thread ends the process, unless it is the same one
      return
    self.number = number
    if not self._deferred:
      raise Stopped(number)

  def _watch(self, seen: int) -> None:
    """Ends the process at the second signal, on a thread: Python hears none inside of a long call such as compiling."""
    first, since = 0, 0.0
    while came := os.read(seen, 1):
      number, now = came[0], time.monotonic()
      if number not in SIGNALS or not processes.is_first():
        continue
      if not first:
        first, since = number, now
      elif number != first or processes.count() == 1 or now - since > SAME_SECONDS:
        os.write(2, b'stopped at once: Run the same command to resume from the last checkpoint\n')
        os._exit(128 + number)
    os.close(seen)

"""SIGTERM and SIGINT: the step in hand finishes and is saved; a second signal ends the process at once.

Of several processes the first one stops, saves and ends the run; a signal to another one is passed on to it.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

from mils_jax import processes
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
    self._since = 0.0
    self._deferred = False
    self._before: dict = {}

  def __enter__(self) -> 'StopSignals':
    self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

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
    if number == self.number and processes.count() > 1 and time.monotonic() - self._since < SAME_SECONDS:
      return
    if self.number:
      os.write(2, b'stopped at once: the same command goes on from the last checkpoint\n')
      os._exit(128 + number)
    self.number, self._since = number, time.monotonic()
    if not self._deferred:
      raise Stopped(number)

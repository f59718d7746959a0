"""SIGTERM, SIGINT, SIGHUP and SIGUSR1: the current step finishes and is saved; a second one ends the process at once.

Several processes must stop after the same step. JAX's preemption service, which `jax.distributed.initialize` starts,
ensures that: it handles SIGTERM itself, on any process, and finds a step that none of them has begun. Ctrl-C and the
other signals are forwarded to it as SIGTERM; a second one ends its process at once, and JAX then ends the others.
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

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # the last two: warnings of some schedulers


class StopSignals:
  """A context in which the first signal raises `Stopped`, where it arrives or, when deferred, a little later.

  With several processes only the training loop raises it, which calls `after_step`. The signal may arrive in a callback
  of Python itself, which ignores exceptions: so `Stopped` is raised again at the end of the context, and where another
  such context is entered inside.
  """

  def __init__(self):
    self._number = 0  # number of the received signal
    self._deferred = False
    self._undo = contextlib.ExitStack()

  def __enter__(self) -> 'StopSignals':
    outer = getattr(signal.getsignal(signal.SIGINT), '__self__', None)
    if isinstance(outer, StopSignals) and outer._number:
      raise Stopped(outer._number)
    seen, told = os.pipe()
    os.set_blocking(told, False)
    threading.Thread(target=self._watch, args=(seen,), name='signals', daemon=True).start()
    self._undo.callback(os.close, told)  # ends the thread
    self._undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(told, warn_on_full_buffer=False))
    for number in SIGNALS:
      if number == signal.SIGTERM and processes.count() > 1:  # JAX handles it then
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
    """Inside this context a signal is only recorded, so that no step or save is torn; the outermost one raises it."""
    outer, self._deferred = self._deferred, True
    try:
      yield
    finally:
      self._deferred = outer
    if self._number and not outer:
      raise Stopped(self._number)

  def after_step(self, step: int) -> int:
    """The signal for which all processes stop after this step; 0: they continue.

    With several processes it must be called after every training step. It takes 30 microseconds.
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
    """Ends the process at the second signal, on a thread: Python handles none inside a long call such as compiling."""
    came = 0
    while number := os.read(seen, 1):
      came += number[0] in SIGNALS
      if came == 2:
        os.write(2, b'stopped at once. Run the same command to resume from the last checkpoint\n')
        os._exit(128 + number[0])
    os.close(seen)

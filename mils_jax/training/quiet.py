"""Silences Orbax's threads where the error is raised anyway, so that a failure prints one line."""

import contextlib
import gc
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

LOGGERS = ('absl', 'asyncio')
SETTLING = 0.5  # seconds


def quiet_from_now_on() -> None:
  """Stops printing tracebacks of failed saves and reads; called before a program prints its last line.

  A thread's error is printed when its future is garbage collected, which may be as late as the interpreter's exit.
  """
  hook = sys.unraisablehook

  def without_abandoned_reads(unraisable: Any) -> None:
    if str(unraisable.exc_value) != 'Event loop is closed':
      hook(unraisable)

  sys.unraisablehook = without_abandoned_reads
  for name in LOGGERS:
    logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def quiet_failures() -> Iterator[None]:
  """Inside this context, no tracebacks of failed saves and reads are printed in addition to the error itself.

  Once one array of a damaged checkpoint cannot be read, nobody waits for the reads of the others, so their errors are
  ignored.
  """
  levels = {name: logging.getLogger(name).level for name in LOGGERS}
  hook = sys.unraisablehook
  quiet_from_now_on()
  try:
    yield
  except Exception:  # let the threads of a failed save or read finish
    time.sleep(SETTLING)
    gc.collect()
    raise
  finally:
    sys.unraisablehook = hook
    for name, level in levels.items():
      logging.getLogger(name).setLevel(level)

"""Keeps Orbax's threads from printing what is raised as an error anyway, so that a failure is one line."""

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
  """Tracebacks of saves and reads that failed are not printed any more: for a program that has its last line to print.

  What a thread met is printed when its future is collected, which may be as late as the end of the interpreter.
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
  """Within, tracebacks of saves and reads that failed are not printed beside the error itself.

  Once one array of a damaged checkpoint cannot be read, the reads of the others end with nobody waiting for them; what
  becomes of these says nothing.
  """
  levels = {name: logging.getLogger(name).level for name in LOGGERS}
  hook = sys.unraisablehook
  quiet_from_now_on()
  try:
    yield
  except Exception:  # what the threads of a failed save or read were still doing ends meanwhile
    time.sleep(SETTLING)
    gc.collect()
    raise
  finally:
    sys.unraisablehook = hook
    for name, level in levels.items():
      logging.getLogger(name).setLevel(level)

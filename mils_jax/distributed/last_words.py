"""A line that is the last one on standard error however this process ends, even when JAX aborts it with a stack dump.

A process of its own says it, once this one has ended. It is started as a program: forking is unsafe beside JAX's
threads.
"""

import contextlib
import signal
import subprocess
import sys


class LastWords:
  """Says a line when this process ends, unless it is taken back before."""

  def __init__(self, line: str):
    # In a session of its own: what a terminal or a launcher sends to the group must not end it too early.
    self._speaker = subprocess.Popen([sys.executable, '-I', '-S', __file__], stdin=subprocess.PIPE, text=True,
                                     start_new_session=True)
    self.become(line)

  def become(self, line: str) -> None:
    """Replaces the line; '' says nothing."""
    with contextlib.suppress(BrokenPipeError):
      print(line.replace('\n', ' '), file=self._speaker.stdin, flush=True)

  def log(self, line: str) -> None:
    """Says `line` now and nothing afterwards."""
    self.become(line)
    with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
      self._speaker.stdin.close()
      self._speaker.wait(timeout=10)


def _speak() -> None:
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
  last = ''
  for line in sys.stdin:
    last = line
  sys.stderr.write(last if last.strip() else '')


if __name__ == '__main__':
  _speak()

"""Where the program starts: `mils-jax`, `python -m mils_jax` and a checkout's `python main.py`."""

import gc
import sys

from mils_jax.distributed.huge_pages import start_with_huge_pages


def start() -> int:
  """Runs the command that the process was started with; returns the exit code."""
  if sys.platform == 'win32':
    print('error: Windows is not supported: locks and signals are those of Linux. Expected Linux, or WSL 2',
          file=sys.stderr)
    return 2
  start_with_huge_pages()
  gc.set_threshold(100_000, 50, 100)  # tracing makes very many objects that stay; going through them took half a second
  from mils_jax.cli import main  # here, so that the start anew comes before anything is loaded

  return main(sys.argv)


if __name__ == '__main__':
  sys.exit(start())

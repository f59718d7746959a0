"""Entry point of the program: `mils-jax`, `python -m mils_jax` and, in a checkout, `python main.py`."""

import gc
import sys

from mils_jax.distributed.huge_pages import start_with_huge_pages


def start() -> int:
  """Runs the command of this process; returns the exit code."""
  if sys.platform == 'win32':
    print('error: Windows is not supported: locks and signals are those of Linux. Expected Linux, or WSL 2',
          file=sys.stderr)
    return 2
  start_with_huge_pages()
  gc.set_threshold(100_000, 50, 100)  # tracing creates very many objects that stay; scanning them took half a second
  from mils_jax.cli import main  # here, because the restart has to come before anything is loaded

  return main(sys.argv)


if __name__ == '__main__':
  sys.exit(start())

"""Trains, evaluates and counts: `python main.py --config configs/task_a.py`. `--help` lists the flags."""

import sys

from mils_jax.huge_pages import start_with_huge_pages

if __name__ == '__main__':
  start_with_huge_pages()
  from mils_jax.cli import main  # here, so that the start anew comes before anything is loaded

  sys.exit(main(sys.argv))

"""Trains, evaluates and counts: `python main.py --config configs/task_a.py`. `--help` lists the flags."""

import sys

from mils_jax.cli import main

if __name__ == '__main__':
  sys.exit(main(sys.argv))

"""Trains, evaluates and counts: `python main.py --config configs/task_a.py`. `--help` lists the flags."""

import sys

from mils_jax.__main__ import start

if __name__ == '__main__':
  sys.exit(start())

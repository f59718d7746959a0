"""Bars are for terminals; counts and their nouns."""

import os
import pty
import subprocess
import sys

import pytest

from mils_jax.progress import counted

DRAWN = """
from mils_jax.progress import bar
with bar('classifying', 4) as advance:
  for _ in range(4):
    advance(1)
"""


def test_one_thing_is_told_in_the_singular():
  assert [counted(number, 'epoch') for number in (0, 1, 2)] == ['0 epochs', '1 epoch', '2 epochs']
  assert [counted(number, 'class has', 'classes have') for number in (1, 2)] == ['1 class has', '2 classes have']


@pytest.mark.parametrize('variable', ['FORCE_COLOR', 'CLICOLOR_FORCE', 'TTY_COMPATIBLE'])
def test_no_bar_is_drawn_into_a_file_even_where_colours_are_wanted(variable):
  drawn = subprocess.run([sys.executable, '-c', DRAWN], capture_output=True, text=True, check=True,
                         env={**os.environ, variable: '1', 'TERM': 'xterm-color'})
  assert drawn.stdout + drawn.stderr == ''


def test_a_bar_is_drawn_on_a_terminal():
  ours, theirs = pty.openpty()
  subprocess.run([sys.executable, '-c', DRAWN], stderr=theirs, check=True, env={**os.environ, 'TERM': 'xterm-256color'})
  os.close(theirs)
  assert b'classifying' in os.read(ours, 100_000)
  os.close(ours)

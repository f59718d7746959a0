import subprocess
import sys

import pytest


def last_lines(body):
  done = subprocess.run([sys.executable, '-c', f'import os, sys\nfrom mils_jax.distributed.last_words import LastWords\n{body}'],
                        stderr=subprocess.PIPE, text=True, timeout=30, check=False)
  return done.stderr.splitlines()


@pytest.mark.parametrize('end', ['os.abort()', 'os.kill(os.getpid(), 9)', 'os._exit(0)'])
def test_they_come_last_however_a_process_ends(end):
  body = f"words = LastWords('how to go on')\nos.write(2, b'a stack dump\\n')\n{end}"
  assert last_lines(body) == ['a stack dump', 'how to go on']


def test_they_can_be_replaced_and_taken_back():
  assert last_lines("LastWords('one').become('two\\nlines'); os._exit(1)") == ['two lines']
  assert last_lines("LastWords('one').become(''); os._exit(1)") == []


def test_they_are_said_once():
  assert last_lines("LastWords('one').log('two'); os.write(2, b'later\\n')") == ['two', 'later']

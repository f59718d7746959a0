"""What is quiet while checkpoints are read and written is as loud as before afterwards, however that ends."""

import contextlib
import logging
import subprocess
import sys

import pytest

import mils_jax
from mils_jax.errors import UserError
from mils_jax.training.quiet import LOGGERS, quiet_failures


def settings():
  return sys.unraisablehook, [logging.getLogger(name).level for name in LOGGERS]


@pytest.mark.parametrize('error', [None, RuntimeError, KeyboardInterrupt])
def test_loggers_and_hook_are_given_back(error):
  before = settings()
  with pytest.raises(error) if error else contextlib.nullcontext(), quiet_failures():
    assert logging.getLogger(LOGGERS[0]).level == logging.CRITICAL
    assert sys.unraisablehook is not before[0]
    if error:
      raise error
  assert settings() == before


def test_a_run_that_cannot_be_loaded_leaves_the_callers_logging_alone(small_runs, tmp_path):
  before = settings()
  (tmp_path / 'config.json').write_text((small_runs['wide_cnn'] / 'config.json').read_text())
  with pytest.raises(UserError, match='has no checkpoint yet'):
    mils_jax.load(tmp_path)
  assert settings() == before


@pytest.mark.parametrize('quiet', [True, False])
def test_what_a_thread_met_is_not_printed_behind_the_last_line(quiet):
  """A future whose exception nobody asked for, collected when the process ends."""
  program = f"""
import asyncio
from mils_jax.training.quiet import quiet_from_now_on
loop = asyncio.new_event_loop()
future = loop.create_future()
future.set_exception(ValueError('the disk is full'))
if {quiet}:
  quiet_from_now_on()
loop.close()
"""
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
  assert done.returncode == 0
  assert ('the disk is full' in done.stderr) != quiet

import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from mils_jax.errors import Stopped
from mils_jax.training.signals import SIGNALS, StopSignals


def signalled(number):
  os.kill(os.getpid(), number)
  return True  # reached where nothing was raised


def test_a_signal_is_raised_where_it_arrives():
  with pytest.raises(Stopped, match='SIGTERM'), StopSignals():
    assert not signalled(signal.SIGTERM)


def test_what_must_not_be_torn_is_finished_first():
  finished = []
  with pytest.raises(Stopped, match='SIGINT'), StopSignals() as stop, stop.deferred(), stop.deferred():
    finished.append(signalled(signal.SIGINT) and stop.after_step(1) == signal.SIGINT)
  assert finished == [True]


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGUSR1])
def test_schedulers_warnings_stop_like_sigterm(number):
  before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
  try:
    with pytest.raises(Stopped, match=signal.Signals(number).name), StopSignals():
      signalled(number)
  finally:
    signal.signal(number, before)


def test_a_hangup_that_is_ignored_stays_so():
  """As nohup asks for."""
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with StopSignals():
      assert signalled(signal.SIGHUP)
  finally:
    signal.signal(signal.SIGHUP, before)


def test_nothing_of_it_stays():
  before = {number: signal.getsignal(number) for number in SIGNALS}
  others = threading.enumerate()  # among them, perhaps, an earlier test's that is about to end
  with StopSignals(), StopSignals():  # a sweep's and that of a run in it
    watching = [thread for thread in threading.enumerate() if thread.name == 'signals' and thread not in others]
    assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
  for thread in watching:
    thread.join(10)
  assert len(watching) == 2
  assert not any(thread.is_alive() for thread in watching)
  assert {number: signal.getsignal(number) for number in SIGNALS} == before
  assert signal.set_wakeup_fd(-1) == -1


def test_a_second_signal_does_not_wait_for_a_long_call():
  code = textwrap.dedent('''
      import hashlib
      from mils_jax.training.signals import StopSignals
      with StopSignals():
        print('begun', flush=True)
        hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)  # as compiling: no handler runs before it is over
      ''')
  process = subprocess.Popen([sys.executable, '-c', code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  process.stdout.readline()
  process.send_signal(signal.SIGTERM)
  process.send_signal(signal.SIGINT)
  try:
    _, error = process.communicate(timeout=10)
  finally:
    process.kill()
    process.communicate()
  assert process.returncode in (130, 143)
  assert error == 'stopped at once. Run the same command to resume from the last checkpoint\n'


def swallow_a_signal():
  class Thing:
    pass

  thing = Thing()
  kept = weakref.ref(thing, lambda _: signalled(signal.SIGTERM))
  del thing
  assert kept() is None


# That it is ignored is what happens here.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_signal_that_a_callback_swallowed_is_raised_again():
  """Python ignores what is raised inside of a weak reference's callback."""
  with pytest.raises(Stopped, match='SIGTERM'), StopSignals():
    swallow_a_signal()
  outer, started = StopSignals(), []
  with pytest.raises(Stopped, match='SIGTERM'), outer:
    started += [swallow_a_signal(), StopSignals().__enter__()]
  assert not started

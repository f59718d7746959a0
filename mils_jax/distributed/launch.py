"""Joining the other processes of a run, and leaving them: whoever fails or is stopped, all end, with one line.

The first process ends the run: it alone says why, and tells the others through the store. One that was killed is
noticed by JAX, which aborts the others with a stack dump; the line that says how to go on comes after that.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping

import jax
from jax._src import clusters

from mils_jax.distributed import processes
from mils_jax.distributed.last_words import LastWords
from mils_jax.errors import UserError

_LOOK_SECONDS = 0.5  # between two looks into the store
_END_SECONDS = 5  # that the processes give each other to end
_END = processes.PREFIX + 'end/'


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a process joins the others; all None: where its cluster says.

  Attributes:
    coordinator: HOST:PORT of the first process.
    count: of all processes.
    index: of this one.
  """

  coordinator: str | None = None
  count: int | None = None
  index: int | None = None


def place_from_flags(flags: Mapping[str, str | bool]) -> Place | None:
  """The place that the flags or the cluster give; None: this process is alone.

  Raises:
    UserError: the flags do not fit together.
  """
  explicit = {name: str(flags[name]) for name in ('coordinator', 'process_id', 'num_processes')}
  given = [name for name, value in explicit.items() if value]
  if not given:
    return _place_in_cluster(asked=bool(flags['distributed']))
  if not flags['distributed']:
    raise UserError(f'--{given[0]} needs --distributed beside it')
  if len(given) < len(explicit):
    raise UserError(f'--{next(name for name in explicit if name not in given)} is missing: --coordinator, --process_id '
                    'and --num_processes go together (none of them: the cluster says, where JAX knows it)')
  if not re.fullmatch(r'.+:\d+', explicit['coordinator']):
    raise UserError(f"--coordinator={explicit['coordinator']}: expected HOST:PORT of the first process")
  for name in ('process_id', 'num_processes'):
    if not explicit[name].isdecimal():
      raise UserError(f'--{name}={explicit[name]}: expected a whole number')
  index, count = int(explicit['process_id']), int(explicit['num_processes'])
  if index >= count:
    raise UserError(f'--process_id={index}: must be below --num_processes={count} (the first is 0)')
  return Place(explicit['coordinator'], count, index)


def _place_in_cluster(asked: bool) -> Place | None:
  """The place that a launcher which JAX knows gives this process.

  Args:
    asked: whether the user wants one; else it is taken where the launcher started several processes.
  """
  kinds = (kind for kind in clusters.ClusterEnv._cluster_types
           if not kind.opt_in_only_method and (asked or kind.name != 'k8s'))  # Kubernetes may warn, so only on demand
  try:
    cluster = next((kind for kind in kinds if kind.is_env_present()), None)
    many = cluster is not None and cluster.get_process_count() > 1
  except Exception:  # a cluster that does not answer is none
    cluster, many = None, False
  if asked and cluster is None:
    raise UserError('--distributed: no cluster is recognised here (SLURM, Open MPI, Kubernetes or a TPU pod); '
                    'expected --coordinator HOST:PORT --process_id I --num_processes N beside it')
  return Place() if asked or many else None


def _check_port(place: Place) -> None:
  """Raises UserError where the first process cannot open its port; JAX would crash."""
  if place.index != 0:
    return
  port = int(place.coordinator.rpartition(':')[2])
  with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      probe.bind(('', port))
    except (OSError, OverflowError) as error:
      raise UserError(f'--coordinator={place.coordinator}: port {port} cannot be opened here ({error}); expected a '
                      'free one') from error


class Membership:
  """This process among those of a run: alone until it joins."""

  def __init__(self):
    self._words: LastWords | None = None
    self._ending = threading.Lock()
    self._left = threading.Event()

  @property
  def joined(self) -> bool:
    return self._words is not None

  def join(self, place: Place, join_timeout: int, heartbeat_timeout: int, go_on: str) -> None:
    """Starts `jax.distributed`; must come before any other use of a device.

    Args:
      place: of this process.
      join_timeout: seconds to wait for the others.
      heartbeat_timeout: seconds after which one that is not heard is predicted as dead.
      go_on: how to start all processes again, for the line that says so.

    Raises:
      UserError: a time is not positive, or the coordinator's port is taken.
    """
    for name, value in (('join_timeout', join_timeout), ('heartbeat_timeout', heartbeat_timeout)):
      if value < 1:
        raise UserError(f'runtime.{name}={value}: must be at least 1 second')
    _check_port(place)
    where = place.coordinator or "the cluster's first process"
    self._words = LastWords(f'failed: joining the other processes at {where}')
    late = threading.Timer(join_timeout, self._exit, (1, (
        f'failed: {where} was not reached by all processes within {join_timeout} seconds (runtime.join_timeout)')))
    late.daemon = True
    late.start()
    try:
      jax.distributed.initialize(
          place.coordinator, place.count, place.index, heartbeat_timeout_seconds=heartbeat_timeout,
          # JAX would abort: the timer is to be first.
          initialization_timeout=join_timeout + 60,
          cluster_detection_method='deactivate' if place.coordinator else None)
    finally:
      late.cancel()
    self._words.become(f'failed: this process was killed, or ended because another one of the run was lost. {go_on}')
    threading.Thread(target=self._look, name='membership', daemon=True).start()

  def leave(self, code: int, line: str) -> int:
    """Ends this process's part with an exit code and a line for standard error ('' for none).

    Alone, or where all went well, it returns the code. Otherwise the whole run ends, and this does not return.
    """
    if not self.joined:
      if line:
        print(line, file=sys.stderr)
      return code
    if code == 0:
      self._left.set()
      jax.distributed.shutdown()
      self._words.log('')
      return 0
    for number in (signal.SIGTERM, signal.SIGINT):  # to other processes too, and passed on: they are ending anyway
      signal.signal(number, signal.SIG_IGN)
    if processes.store() is None:  # it never got to the others
      self._exit(code, line)
    if not processes.is_first():
      processes.ask_first('end', [code, line])
      time.sleep(2 * _END_SECONDS)  # it ends this process before
      self._exit(code, line)
    self._end(code, line)
    return code

  def _look(self) -> None:
    """Ends what is to end, and passes signals on, for as long as this process is one of many."""
    store, stopped = processes.store(), False
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # the first process is gone: JAX ends this one
      while not self._left.wait(_LOOK_SECONDS):
        if not processes.is_first():
          for _, code in store.key_value_dir_get(_END):
            with contextlib.suppress(jax.errors.JaxRuntimeError):
              store.wait_at_barrier(_END, 1000 * _END_SECONDS)
            self._exit(int(code), '')
          continue
        asked = {key.removeprefix(processes.ASKED): json.loads(value)
                 for key, value in store.key_value_dir_get(processes.ASKED)}
        if 'end' in asked:
          self._end(*asked['end'])
        if 'stop' in asked and not stopped:
          stopped = True
          os.kill(os.getpid(), asked['stop'])

  def _end(self, code: int, line: str) -> None:
    """Tells the others to end, waits for them, and ends."""
    if not self._ending.acquire(blocking=False):
      time.sleep(4 * _END_SECONDS)  # another thread is at it
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      processes.store().key_value_set(_END + 'code', str(code))
      processes.store().wait_at_barrier(_END, 1000 * _END_SECONDS)
      time.sleep(_LOOK_SECONDS)  # this process holds the store: whoever hears of its end too early is aborted
    self._exit(code, line)

  def _exit(self, code: int, line: str) -> None:
    """At once: an orderly end would wait for processes that may not be there any more."""
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # JAX's threads may print yet: the line is the last
    self._words.log(line)
    os._exit(code)

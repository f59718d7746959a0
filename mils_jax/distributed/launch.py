"""Joins the other processes of a run, and leaves them.

JAX's coordination service monitors all processes: it ends the others where one is lost. In an orderly end all processes
wait for each other; a process that fails alone ends without waiting, so that the service ends the others.
"""

import contextlib
import dataclasses
import os
import re
import socket
import sys
from collections.abc import Mapping

from mils_jax.distributed import processes
from mils_jax.errors import UserError, one_line

_END_SECONDS = 5  # how long a failed process waits for the others to fail too


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a process joins the others; all None: the cluster provides it.

  Attributes:
    coordinator: HOST:PORT of the first process.
    count: number of all processes.
    index: index of this process.
  """

  coordinator: str | None = None
  count: int | None = None
  index: int | None = None


def place_from_flags(flags: Mapping[str, str | bool]) -> Place | None:
  """The place that the flags describe; None: there is only this process.

  Raises:
    UserError: the flags do not fit together.
  """
  explicit = {name: str(flags[name]) for name in ('coordinator', 'process_id', 'num_processes')}
  given = [name for name, value in explicit.items() if value]
  if not flags['distributed']:
    if given:
      raise UserError(f'--{given[0]} needs --distributed beside it')
    return None
  if not given:
    return Place()
  if len(given) < len(explicit):
    raise UserError(f'--{next(name for name in explicit if name not in given)} is missing: --coordinator, --process_id '
                    'and --num_processes go together (none of them: the cluster provides them, where JAX supports it)')
  if not re.fullmatch(r'.+:\d+', explicit['coordinator']):
    raise UserError(f"--coordinator={explicit['coordinator']}: expected HOST:PORT of the first process")
  for name in ('process_id', 'num_processes'):
    if not explicit[name].isdecimal():
      raise UserError(f'--{name}={explicit[name]}: expected a whole number')
  index, count = int(explicit['process_id']), int(explicit['num_processes'])
  if index >= count:
    raise UserError(f'--process_id={index}: must be below --num_processes={count} (the first is 0)')
  return Place(explicit['coordinator'], count, index)


def join(place: Place, join_timeout: int, heartbeat_timeout: int) -> None:
  """Joins this process to the others of a run; must be called before any other use of a device.

  Args:
    place: where this process joins.
    join_timeout: seconds to wait for the others; then JAX aborts this process.
    heartbeat_timeout: seconds without a heartbeat after which a process counts as dead, and JAX ends the others.

  Raises:
    UserError: no cluster provides the addresses, the coordinator's port is taken, or the processes do not have the same
      number of devices.
  """
  import jax  # here and below, so that mistakes are reported before JAX is loaded

  if place.coordinator and place.index == 0:
    _check_port(place.coordinator)
  where = place.coordinator or 'the address that the cluster gives'
  print(f'joining the other processes at {where}: waiting at most {join_timeout} s (runtime.join_timeout)',
        flush=True)  # by each process, and beforehand: JAX aborts a process that waited too long
  try:
    jax.distributed.initialize(
        place.coordinator, place.count, place.index, initialization_timeout=join_timeout,
        heartbeat_timeout_seconds=heartbeat_timeout, shutdown_timeout_seconds=heartbeat_timeout,
        cluster_detection_method='deactivate' if place.coordinator else None)
  except ValueError as error:  # neither flags nor a cluster provide an address, a number or an index
    raise UserError(f'--distributed: no cluster is recognised here (JAX: {error}); expected SLURM, Open MPI, a TPU '
                    'pod, or --coordinator HOST:PORT --process_id I --num_processes N beside it') from error
  except RuntimeError as error:
    raise UserError(f'--distributed: cannot join at {where}: {one_line(error)}') from error
  if jax.device_count() != jax.process_count() * jax.local_device_count():
    raise UserError(f'the {jax.process_count()} processes have {jax.device_count()} devices, this one '
                    f'{jax.local_device_count()} of them: expected as many on each')


def _check_port(coordinator: str) -> None:
  """Raises UserError where this process cannot open the coordinator's port: jaxlib may crash there (seen in 0.10.2)."""
  port = int(coordinator.rpartition(':')[2])
  with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      probe.bind(('', port))
    except (OSError, OverflowError) as error:
      raise UserError(f'--coordinator={coordinator}: port {port} cannot be opened here ({error}); expected a free '
                      'one') from error


def leave(code: int, line: str, together: bool = False) -> int:
  """Prints a line and ends this process's part in a run; returns the exit code if it is the only process.

  With several processes it ends the process here. The interpreter's normal exit tears down the collectives of the CPU
  backend while the others close their sockets, and a first process was seen to abort, probably there, after everything
  was saved and the others had ended well, in one of some hundred runs.

  Args:
    code: the exit code.
    line: line for standard error; '' prints nothing.
    together: whether the others will end as well, however long it takes; only the first process prints then. Otherwise
      this process failed: where the others continue, it ends without them, so that JAX notices that it is gone.
  """
  if processes.count() == 1:
    if line:
      print(line, file=sys.stderr)
    return code
  import jax

  if processes.is_first() or not together:
    _print_line(line)
  try:
    if together:
      processes.wait_for_all('end')
    else:
      processes.wait_for_all('end', _END_SECONDS)
  except jax.errors.JaxRuntimeError:
    if not code:
      code = 1
      _print_line('failed: another process was lost before all had finished')
  else:
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # everything is done, whatever happens to the others now
      jax.distributed.shutdown()
  with contextlib.suppress(OSError):  # a pipe that nobody reads, or a full disk
    if sys.stdout:
      sys.stdout.flush()
  os._exit(code)


def _print_line(line: str) -> None:
  """Prints a line, unless it is empty, to standard error, with the process's number where it is not the first."""
  if line:
    with contextlib.suppress(OSError):
      print(line if processes.is_first() else f'process {processes.index()}: {line}', file=sys.stderr, flush=True)

"""Runs the command line: dispatches to one command, and turns every expected failure into one line and an exit code.

JAX is loaded by the commands that compute; --help and mistakes on the command line are answered without it.
"""

import contextlib
import io
import sys
import traceback

from mils_jax import __version__, invocation
from mils_jax.command_line import parse
from mils_jax.commands import Request, runner
from mils_jax.distributed import processes
from mils_jax.distributed.launch import join, leave, place_from_flags
from mils_jax.distributed.runtime import prepare
from mils_jax.errors import RunError, Stopped, UserError, one_line
from mils_jax.progress import log_lines
from mils_jax.training.quiet import quiet_from_now_on
from mils_jax.usage import help_lines, wants_help


def main(argv: list[str]) -> int:
  """Runs one command and returns its exit code: 0, 1 where a run failed, 2 for a mistake in the command.

  One of several processes ends here instead, with that code. `argv` is like sys.argv.
  """
  invocation.started_with(argv)
  if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors='backslashreplace')  # names of files may hold what a terminal cannot show
  try:
    if argv[1:] == ['--version'] or wants_help(argv):
      with contextlib.suppress(BrokenPipeError):  # `--help | head` has read what it needs
        log_lines([f'{invocation.PROGRAM} {__version__}'] if argv[1:] == ['--version'] else help_lines(argv))
    else:
      _run(parse(argv))
  except UserError as error:
    return leave(2, f'error: {error}')
  except RunError as error:
    return _failed(str(error))
  except Stopped as stopped:
    return leave(stopped.exit_code, f'{stopped}. {_resume(argv)}', together=True)
  except KeyboardInterrupt:
    return leave(130, 'interrupted')
  except OSError as error:  # a full or read-only disk
    return _failed(f'{error.filename}: {error.strerror}' if error.filename else error.strerror or str(error))
  except Exception as error:  # with several processes, also where another one died
    return _unforeseen(error, argv)
  return leave(0, '', together=True)


def _failed(line: str) -> int:
  quiet_from_now_on()  # the line below is the last one
  return leave(1, f'failed: {line}')


def _run(request: Request) -> None:
  place = place_from_flags(request.flags) if 'distributed' in request.flags else None
  if request.run is not None:  # each run of a sweep does it itself
    prepare(request.run.runtime, request.run.train.deterministic)
  if place:
    join(place, request.config.runtime.join_timeout, request.config.runtime.heartbeat_timeout)
  runner(request.command)(request)


def _unforeseen(error: Exception, argv: list[str]) -> int:
  """Ends with one line for errors that only some processes or machines meet; re-raises any other."""
  from jax.errors import JaxRuntimeError

  if isinstance(error, JaxRuntimeError) and 'RESOURCE_EXHAUSTED' in str(error):
    return _failed('the device has too little memory; a smaller train.batch_size needs less, and '
                   f'runtime.data_placement=host keeps the data off it. {_resume(argv)}')
  if isinstance(error, MemoryError):
    return _failed(f'there is too little memory: {one_line(error, 200)}. {_resume(argv)}')
  if processes.count() == 1:
    raise error
  if not isinstance(error, JaxRuntimeError):
    traceback.print_exc()
  return _failed(f'{one_line(error, 200)}. {_resume(argv)}')


def _resume(argv: list[str]) -> str:
  return f'Run the same command to resume from the last checkpoint: {invocation.as_typed(argv)}'

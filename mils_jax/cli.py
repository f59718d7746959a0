"""The door: one function per mode, and every foreseen failure to one line and an exit code."""

import glob
import shlex
import traceback
from pathlib import Path

import jax
from ml_collections import ConfigDict

from mils_jax.build import cache_folder, open_data
from mils_jax.command_line import USAGE, Command, Mode, parse
from mils_jax.commands.compress import run_compression
from mils_jax.commands.cost import measure_cost
from mils_jax.commands.diagnose import run_diagnostics
from mils_jax.commands.evaluate import run_evaluation
from mils_jax.commands.predict import run_prediction
from mils_jax.data.inspection import inspect
from mils_jax.distributed.devices import use_deterministic_kernels
from mils_jax.distributed.launch import FLAGS as PROCESS_FLAGS
from mils_jax.distributed.launch import Membership, place_from_flags
from mils_jax.errors import RunError, Stopped, UserError, unknown
from mils_jax.progress import log
from mils_jax.report.compress import compression_lines
from mils_jax.report.diagnostics import diagnostic_lines
from mils_jax.report.inspection import write_inspection
from mils_jax.report.subsets import subset_lines
from mils_jax.report.sweep import TABLES, estimate_lines, write_table
from mils_jax.report.text import cost_lines, prediction_lines, result_lines
from mils_jax.run import run_training
from mils_jax.subsets import run_subsets
from mils_jax.sweeps.comparison import finished
from mils_jax.sweeps.estimate import estimate_sweep
from mils_jax.sweeps.sweep import read_sweep, run_sweep
from mils_jax.training.run_folder import write_json
from mils_jax.training.signals import StopSignals


def train_mode(command: Command) -> None:
  results = run_training(command.config, command.folder, command.argv)
  log_lines(result_lines(results, command.folder.path))


def evaluate_mode(command: Command) -> None:
  from mils_jax.report.evaluation import score_lines, write_evaluation  # the drawing library takes a while to load

  evaluation = run_evaluation(command.config, command.folder, command.flags['split'], command.flags['output'])
  log_lines(score_lines(evaluation))  # before anything is written, whatever becomes of that
  log(write_evaluation(evaluation))


def report_mode(command: Command) -> None:
  from mils_jax.report.write import write_report

  log_lines(write_report(command.flags['runs'], command.folder.path))


def cost_mode(command: Command) -> None:
  command.folder.check(command.config.to_dict())
  cost = measure_cost(command.config)
  command.folder.claim(command.config.to_dict())
  path = command.folder.path / 'cost.json'
  write_json(path, cost.to_json())
  log_lines([*cost_lines(cost), '', f'saved as {path}'])


def inspect_mode(command: Command) -> None:
  command.folder.check(command.config.to_dict())
  data = open_data(command.config, allow_nonfinite=True)
  command.folder.claim(command.config.to_dict())
  log_lines(write_inspection(inspect(data), data, command.folder.path / 'inspection'))


def subsets_mode(command: Command) -> None:
  report = run_subsets(command.config, command.folder)
  report.save(command.folder)
  log_lines(subset_lines(report, command.folder.path))


def diagnose_mode(command: Command) -> None:
  report = run_diagnostics(command.config, command.folder)
  report.save(command.folder)
  log_lines(diagnostic_lines(report, command.folder.path))


def compress_mode(command: Command) -> None:
  output, keep = command.flags['output'], command.flags['keep']
  with StopSignals():  # so that what is unfinished goes
    values = run_compression(command.config, command.folder, output, keep, command.argv)
  log_lines(compression_lines(values, Path(output)))


def sweep_mode(command: Command) -> None:
  from mils_jax.report.write import write_report

  sweep = read_sweep(command.config, command.folder.path)
  if sweep.table not in TABLES:
    raise unknown('table', sweep.table, TABLES)
  TABLES[sweep.table].check(sweep)
  _prepare(sweep.members[0].config)
  if command.flags['dry_run']:
    return log_lines(estimate_lines(sweep, estimate_sweep(sweep)))
  with StopSignals():  # between members and in the table too, where no training listens
    failures = run_sweep(sweep, command.argv)
    log_lines(['', *write_table(sweep)])
    if finished(sweep):
      log_lines(['', *write_report(glob.escape(str(sweep.path)), sweep.path / 'report')])
  if failures:
    raise RunError(f'{", ".join(failures)}, of {len(sweep.members)} members; the reasons stand above, and the same '
                   'command tries again')


def predict_mode(command: Command) -> None:
  given = command.flags
  summary = run_prediction(command.config, command.folder, given['input'], given['channels'], given['output'],
                           given['all_classes'])
  log_lines(prediction_lines(summary))
  if summary.errors:
    raise RunError(f'{len(summary.errors)} images could not be classified; their rows in {summary.output} say why')


MODES = {
    'train': Mode(train_mode, tuple(PROCESS_FLAGS)),
    'evaluate': Mode(evaluate_mode, ('split', 'output')),
    'cost': Mode(cost_mode),
    'inspect': Mode(inspect_mode),
    'subsets': Mode(subsets_mode),
    'diagnose': Mode(diagnose_mode),
    'compress': Mode(compress_mode, ('output', 'keep')),
    'sweep': Mode(sweep_mode, ('dry_run',)),
    'predict': Mode(predict_mode, ('input', 'channels', 'output', 'all_classes')),
    'report': Mode(report_mode, ('runs',), configured=False),
}


def main(argv: list[str]) -> int:
  """Runs one command; `argv` is as sys.argv. Returns the exit code: 0, 1 a run failed, 2 a mistake in the command."""
  if any(word in ('--help', '-h', '-help') for word in argv[1:]):
    print(USAGE)
    return 0
  member = Membership()
  try:
    _run(parse(argv, MODES), member)
  except UserError as error:
    return member.leave(2, f'error: {error}')
  except RunError as error:
    return member.leave(1, f'failed: {error}')
  except Stopped as stopped:
    return member.leave(stopped.exit_code, f'{stopped}. {_go_on(argv)}')
  except KeyboardInterrupt:
    return member.leave(130, 'interrupted')
  except OSError as error:  # a full or read-only disk, wherever it was met
    return member.leave(1, f'failed: {error.filename or ""}: {error.strerror or error}'.replace(': :', ':'))
  except Exception as error:  # with others, also that one of them is gone
    if isinstance(error, jax.errors.JaxRuntimeError) and 'RESOURCE_EXHAUSTED' in str(error):
      return member.leave(1, 'failed: the device has too little memory; a smaller train.batch_size needs less, and '
                             f'runtime.data_placement=streamed keeps the data off it. {_go_on(argv)}')
    if not member.joined:
      raise
    if not isinstance(error, jax.errors.JaxRuntimeError):
      traceback.print_exc()
    return member.leave(1, f'failed: {" ".join(str(error).split())[:200]}. {_go_on(argv)}')
  return member.leave(0, '')


def _run(command: Command, member: Membership) -> None:
  if command.config is not None and command.mode != 'sweep':  # whose members say it
    _prepare(command.config)
  place = place_from_flags(command.flags) if 'distributed' in command.flags else None
  if place:
    runtime = command.config.runtime
    member.join(place, runtime.join_timeout, runtime.heartbeat_timeout, _go_on(command.argv))
  MODES[command.mode].run(command)


def _go_on(argv: list[str]) -> str:
  return f'Run the same command to resume from the last checkpoint: python {shlex.join(argv)}'


def _prepare(config: ConfigDict) -> None:
  """What must be settled before the first computation: where compiled programs are kept, and which kernels run."""
  if jax.config.jax_compilation_cache_dir is None:  # unless the user's environment already says where
    jax.config.update('jax_compilation_cache_dir', str(cache_folder(config) / 'compiled'))
  if config.train.get('deterministic'):
    use_deterministic_kernels()


def log_lines(lines: list[str]) -> None:
  for line in lines:
    log(line)

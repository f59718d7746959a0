"""Trains the runs of a sweep, one after the other, and compares them."""

from mils_jax.commands import Request
from mils_jax.distributed.runtime import prepare
from mils_jax.errors import RunError, UserError, unknown
from mils_jax.progress import counted, log_lines
from mils_jax.report.text import duration, table_lines
from mils_jax.sweeps.estimate import STEPS, Estimate, estimate_sweep
from mils_jax.sweeps.sweep import Sweep, read_sweep, run_sweep
from mils_jax.sweeps.tables import TABLES, finished, prepare_table
from mils_jax.training.signals import StopSignals


def run(request: Request) -> None:
  """Trains the unfinished runs and writes the table and the report; with --dry_run, only prints the estimate."""
  sweep = read_sweep(request.sweep, request.folder.path)
  if sweep.table not in TABLES:
    raise unknown('table', sweep.table, TABLES)
  TABLES[sweep.table].check(sweep)
  first = sweep.runs[0].config
  if any(run.config.train.deterministic != first.train.deterministic for run in sweep.runs):
    raise UserError('train.deterministic differs between runs of the sweep, which share a process and its kernels; '
                    'expected the same in all')
  prepare(first.runtime, first.train.deterministic)
  if request.flags['dry_run']:
    log_lines(estimate_lines(sweep, estimate_sweep(sweep)))
    return
  from mils_jax.report.write import write_sweep  # here, since the drawing library takes a while to load

  with StopSignals():  # between runs and in the table too, where no training handles signals
    failures = run_sweep(sweep, request.words)
    if finished(sweep):
      prepare_table(sweep)
      log_lines(['', *write_sweep(sweep.path)])
  if failures:
    raise RunError(f'{", ".join(failures)}, of {counted(len(sweep.runs), "run")}; the reasons are above, and the '
                   'same command tries again')


def estimate_lines(sweep: Sweep, estimates: list[Estimate]) -> list[str]:
  """What would be trained and for how long, run by run and in total."""
  rows = []
  for entry in estimates:
    step = f'{1000 * entry.time.step:.0f} ms' if entry.time else ''
    rows.append([entry.run.title, entry.state, str(entry.steps - entry.done), step, duration(entry.seconds)])
  kinds = {id(entry.time): entry.time for entry in estimates if entry.time}
  compiling = sum(time.compiling for time in kinds.values())
  return [
      f'{sweep.name}, in {sweep.path}', '',
      *table_lines(['run', 'state', 'steps left', 'a step', 'time'], rows), '',
      f'in all {duration(sum(entry.seconds for entry in estimates))}, and {duration(compiling)} to compile',
      f'A step is the median of {STEPS}, here and now, without compiling. Validation, tests, checkpoints and the '
      'table come on top. Nothing was trained.',
  ]

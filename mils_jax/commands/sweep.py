"""Trains the runs of a sweep, one after the other, and compares them."""

import glob

from mils_jax.commands.request import Request
from mils_jax.distributed.runtime import prepare
from mils_jax.errors import RunError, unknown
from mils_jax.progress import log_lines
from mils_jax.report.sweep import TABLES, estimate_lines, write_table
from mils_jax.report.write import write_report
from mils_jax.sweeps.comparison import finished
from mils_jax.sweeps.estimate import estimate_sweep
from mils_jax.sweeps.sweep import read_sweep, run_sweep
from mils_jax.training.signals import StopSignals


def run(request: Request) -> None:
  sweep = read_sweep(request.sweep, request.folder.path)
  if sweep.table not in TABLES:
    raise unknown('table', sweep.table, TABLES)
  TABLES[sweep.table].check(sweep)
  first = sweep.members[0].config
  prepare(first.runtime, first.train.deterministic)
  if request.flags['dry_run']:
    log_lines(estimate_lines(sweep, estimate_sweep(sweep)))
    return
  with StopSignals():  # between runs and in the table too, where no training listens
    failures = run_sweep(sweep, request.words)
    log_lines(['', *write_table(sweep)])
    if finished(sweep):
      log_lines(['', *write_report(glob.escape(str(sweep.path)), sweep.path / 'report')])
  if failures:
    raise RunError(f'{", ".join(failures)}, of {len(sweep.members)} runs; the reasons stand above, and the same '
                   'command tries again')

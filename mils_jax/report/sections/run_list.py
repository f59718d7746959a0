"""How each run was made and can be reproduced, and what could not be reported."""

import json

from mils_jax.invocation import as_typed
from mils_jax.report.document import Block, Command, Points, Section, Table, Text
from mils_jax.report.groups import Group, config_differences
from mils_jax.report.read_runs import NotReported, Run
from mils_jax.report.text import duration, unbroken


def runs_section(groups: list[Group], others: list[NotReported]) -> Section:
  """Every run with the command that reproduces it, and what is not in the report."""
  runs = [run for group in groups for run in group.runs]
  blocks: list[Block] = [_table(runs)]
  if others:
    blocks.append(Table('In no figure above: unfinished, damaged, or no run of its own.', ['folder', 'why'],
                        [[other.name, other.reason] for other in others], ('why',)))
  blocks.append(_machines(runs))
  blocks += [Command(f'{run.name} again:', command_of(run)) for run in runs]
  return Section('Runs', blocks)


def _table(runs: list[Run]) -> Table:
  first = runs[0].config
  rows = []
  for run in runs:
    differences = [*config_differences(run.config, first), *filter(None, [run.origin])]
    changes = 'the first' if run is runs[0] else ', '.join(differences) or 'nothing'
    rows.append([run.name, changes, f'{run.results["best_epoch"]} of {run.results["epochs"]}',
                 'x'.join(map(str, run.results['image_shape'])), run.results['data_fingerprint'], _training_time(run)])
  return Table('Every run: how its configuration differs from the first one\'s, its best epoch by validation, its '
               'images (height, width, channels), the fingerprint of its data, and how long its epochs took.',
               ['run', 'differs in', 'best epoch', 'images', 'data', 'time'], rows, ('differs in',))


def _machines(runs: list[Run]) -> Block:
  machines: dict[str, list[str]] = {}
  for run in runs:
    machines.setdefault(_describe(run.machine), []).append(run.name)
  if len(machines) == 1:
    return Text(f'All runs: {next(iter(machines))}.')
  return Points([f'{", ".join(names)}: {machine}.' for machine, names in machines.items()])


def _describe(machine: dict) -> str:
  if not machine:
    return 'hardware and versions were not recorded'
  devices = machine['devices']
  versions = ', '.join(f'{name} {version}' for name, version in machine['versions'].items())
  return f'{len(devices)} x {devices[0]}, {machine["platform"]}, Python {machine["python"]}, {versions}'


def command_of(run: Run) -> str:
  """The command that started the run; the path of its configuration where none was recorded."""
  return as_typed(run.machine['command']) if run.machine.get('command') else f'see {run.folder.config}'


def _training_time(run: Run) -> str:
  """The training time of all epochs, each as it was last run; of a resumed epoch only the part that followed counts."""
  try:
    lines = [json.loads(line) for line in run.folder.timings.read_text(encoding='utf-8').splitlines()]
    by_epoch = {line['epoch']: line['train_seconds'] + line['validation_seconds'] for line in lines}
    whole = {line['epoch']: line.get('whole', True) for line in lines}  # earlier versions did not record it
  except (OSError, ValueError, KeyError, TypeError):
    return 'not recorded'
  total = duration(sum(by_epoch.values()))
  return unbroken(total if all(whole.values()) else f'at least {total}')

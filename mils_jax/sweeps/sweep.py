"""Several runs, one after the other, as one job that resumes where it was stopped.

    sweep.json      the runs: name, run folder, seed, overrides
    sweep.md        the table at the end
    NAME-seedN/     each run: an ordinary run folder
"""

import dataclasses
import gc
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mils_jax import build, schema
from mils_jax.errors import RunError, UserError, unknown
from mils_jax.metrics import Accuracy
from mils_jax.progress import log
from mils_jax.run import earlier_results, run_training
from mils_jax.run_config import RunConfig, as_it_was
from mils_jax.sweeps.specialists import specialist_runs
from mils_jax.training.plan import TrainingPlan
from mils_jax.training.run_folder import RunFolder, read_json, write_json

FIELDS = ('name', 'table', 'common')


@dataclasses.dataclass(frozen=True)
class SweepRun:
  """One run of a sweep.

  Attributes:
    name: name in the comparison; runs that differ only in their seed share it.
    seed: value of train.seed.
    overrides: fields that differ from its base, beside those that all runs have in common.
    config: the whole configuration.
    folder: the run folder.
  """

  name: str
  seed: int
  overrides: dict[str, Any]
  config: RunConfig
  folder: RunFolder

  @property
  def title(self) -> str:
    """Name of the run folder."""
    return self.folder.path.name


@dataclasses.dataclass(frozen=True)
class SweepRecord:
  """What sweep.json records about a sweep, for reading its runs later.

  Attributes:
    path: folder of the sweep.
    name: name of the sweep.
    table: kind of table at its end.
    runs: name of each run by the name of its run folder, in the order of the sweep.
  """

  path: Path
  name: str
  table: str
  runs: dict[str, str]

  @property
  def first(self) -> str:
    """The run that the others are compared with."""
    return next(iter(self.runs.values()))


@dataclasses.dataclass(frozen=True)
class Sweep:
  """Runs that are compared in one table.

  Attributes:
    name: name of the sweep.
    table: kind of table at its end.
    path: folder of the sweep.
    runs: the runs in the order in which they are trained.
  """

  name: str
  table: str
  path: Path
  runs: tuple[SweepRun, ...]


def check_sweep(config: ConfigDict) -> None:
  """Raises UserError where a configuration does not describe a sweep."""
  missing = [] if config.get('runs') or config.get('specialists') else ['runs']
  missing += [field for field in FIELDS if field not in config]
  if missing:
    raise UserError(f"the config is no sweep: it has no {missing[0]}. Expected {', '.join(FIELDS)} and runs, or "
                    'specialists, as in configs/sweeps/')


def read_sweep(config: ConfigDict, path: Path) -> Sweep:
  """The sweep that a configuration describes.

  Args:
    config: `name`, `table`, `common` (fields for all runs, in sections) and `runs`, each of them
      (name, base configuration, overrides by field, seeds), or `specialists` (as in specialists.py).
    path: folder of the sweep.

  Raises:
    UserError: there are no runs, two have the same name, or one overrides a field that its base does not have.
  """
  check_sweep(config)
  values: Any = config  # ml_collections gives every field the same broad type
  common = dict(schema.flattened(values.common.to_dict()))
  described = values.get('runs') or specialist_runs(values.specialists, values.common)
  for number, run in enumerate(described, 1):
    if not (isinstance(run, tuple | list) and len(run) == 4 and isinstance(run[0], str)
            and isinstance(run[1], ConfigDict) and isinstance(run[2], Mapping | ConfigDict)
            and isinstance(run[3], Sequence)):
      raise UserError(f'run {number} of the sweep: expected (name, base configuration, overrides, seeds), the seeds '
                      'being several, as (0, 1, 2), or one, as (0,)')
  names = [name for name, *_ in described]
  name, times = Counter(names).most_common(1)[0]
  if times > 1:
    raise UserError(f"two runs of the sweep are called '{name}'; each needs a name of its own")
  runs = []
  for name, base, overrides, seeds in described:
    if not re.fullmatch(r'[\w.=,+-]+', name):
      raise UserError(f"run '{name}': its name becomes a folder; expected letters, digits and . = , + - _")
    if not seeds or len(set(seeds)) < len(seeds):
      raise UserError(f"run '{name}': seeds={tuple(seeds)}; expected at least one, each once")
    for seed in seeds:
      fields = {**common, **overrides, 'train.seed': seed}
      folder = RunFolder(path / f'{name}-seed{seed}')
      runs.append(SweepRun(name, seed, dict(overrides), as_it_was(_changed(base, fields, name), folder), folder))
  return Sweep(values.name, values.table, path, tuple(runs))


def run_sweep(sweep: Sweep, command: list[str]) -> dict[str, RunError]:
  """Trains the unfinished runs and returns the errors of failed ones, by the run's title.

  Raises:
    UserError: a run does not fit, or its folder belongs to another configuration; checked before anything is trained.
    Stopped: a signal arrived.
  """
  check_folders(sweep)
  for run in sweep.runs:
    if run.folder.read_results() is None:
      build_plan(run)
  write_runs(sweep)
  failures = {}
  for number, run in enumerate(sweep.runs, 1):
    log(f'{sweep.name}, {number} of {len(sweep.runs)}: {run.title}')
    try:
      results = run.folder.read_results() or run_training(run.config, run.folder, command)
      log(f'  {Accuracy(results["test"]["correct"], results["test"]["count"])}')
    except RunError as error:
      log(f'  {run.title} failed: {error}')
      failures[run.title] = error
    gc.collect()  # a run's arrays and programs form reference cycles; the next run needs their memory
    jax.clear_caches()
  return failures


def check_folders(sweep: Sweep) -> None:
  """Raises UserError where the sweep's folder, or a run's, belongs to another configuration."""
  record = read_record(sweep.path)
  if record is not None:
    if record.name != sweep.name:
      raise UserError(f"{sweep.path} belongs to the sweep '{record.name}', not '{sweep.name}'. Give another --workdir")
  elif sweep.path.exists() and (not sweep.path.is_dir() or any(sweep.path.iterdir())):
    raise UserError(f'{sweep.path} exists and is no sweep folder (it has no sweep.json). Give another --workdir')
  for run in sweep.runs:
    earlier_results(run.config, run.folder)


def write_runs(sweep: Sweep) -> None:
  """Writes sweep.json; raises UserError where the folder cannot be written."""
  runs = [{'name': run.name, 'folder': run.title, 'seed': run.seed, 'overrides': run.overrides}
             for run in sweep.runs]
  try:
    sweep.path.mkdir(parents=True, exist_ok=True)
    write_json(sweep.path / 'sweep.json', {'name': sweep.name, 'table': sweep.table, 'runs': runs})
  except OSError as error:
    raise UserError(f'the sweep folder {sweep.path} cannot be written: {error.strerror}') from error


def read_record(path: Path) -> SweepRecord | None:
  """The record of the sweep in this folder, of any version; None where it is no sweep's folder.

  Raises:
    RunError: the file is damaged.
  """
  for file in schema.with_old_names(path / 'sweep.json'):
    if file.exists():
      values = read_json(file)
      try:
        runs = {one['folder']: one['name'] for one in values['runs']}
        return SweepRecord(path, values['name'], values['table'], runs)
      except (KeyError, TypeError) as error:
        raise RunError(f'{file} is no record of a sweep ({error!r}). Restore the file, or give another --workdir'
                       ) from error
  return None


def build_plan(run: SweepRun) -> TrainingPlan:
  """Everything that a run's training needs; raises UserError, with the run's name, for what does not fit."""
  try:
    return build.build_plan(run.config, run.folder)
  except UserError as error:
    raise UserError(f"run '{run.name}': {error}") from error


def _changed(base: ConfigDict, fields: dict[str, Any], run: str) -> RunConfig:
  """The base with fields changed; raises UserError for an unknown field or an invalid value."""
  values = dict(schema.flattened(base.to_dict()))
  for field in fields:
    if field not in values:
      raise unknown(f"config field of run '{run}'", field, values)
  try:
    return RunConfig.read(schema.nested({**values, **fields}))
  except UserError as error:
    raise UserError(f"run '{run}': {error}") from error

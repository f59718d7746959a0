"""The folder of one run: its files, its lock and its owner.

    config.json        the whole configuration
    checkpoints/       Orbax checkpoints, named by step
    metrics.jsonl      a line per epoch } only what state and data determine
    results.json       the final test   }
    predictions.npz    example_id, label and logits of every test example
    timings.jsonl      seconds and images per second of each epoch
    run.json           command, versions, hardware
    lock               held by the process that trains here, with its name and number inside
    cost.json          counts of --mode cost
    inspection/        output of --mode inspect: sheets of sample images
    subsets.*, diagnostics.json, compression.json   results of these modes
    evaluation/        results of --mode evaluate, by split: scores, predictions, a page
    export/            exports of --mode export, by format
    events.out...      TensorBoard
"""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mils_jax import schema
from mils_jax.errors import RunError, UserError
from mils_jax.files import UNFINISHED, replaced

EXPORT = 'export.json'  # marks an export, which may have a config.json too


class RunFolder:
  """Names and reads the files of one run."""

  def __init__(self, path: Path):
    self.path = path
    self.config = path / 'config.json'
    self.checkpoints = path / 'checkpoints'
    self.metrics = path / 'metrics.jsonl'
    self.timings = path / 'timings.jsonl'
    self.results = path / 'results.json'
    self.predictions = path / 'predictions.npz'
    self.run = path / 'run.json'
    self.subsets = path / 'subsets.json'
    self.subsets_table = path / 'subsets.csv'
    self.subset_predictions = path / 'subsets.npz'
    self.diagnostics = path / 'diagnostics.json'
    self.compression = path / 'compression.json'
    self.exports = path / 'export'
    self.lock = path / 'lock'

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """Creates the folder if needed and holds its lock, which the system releases however this process ends.

    Raises:
      UserError: another process holds it, or the folder cannot be written.
    """
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      file = self.lock.open('a+', encoding='utf-8')
    except OSError as error:
      raise UserError(f'the run folder {self.path} cannot be written: {error.strerror}. Give another --workdir, or '
                      'the right to write there') from error
    with file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        file.seek(0)
        raise UserError(f'{self.path} is being trained in by {file.read().strip() or "another process"}; wait for it, '
                        'stop it, or give another --workdir') from error
      file.truncate(0)
      file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
      file.flush()
      yield

  def check_empty(self) -> None:
    """Raises UserError where the folder holds something that is no run, or is no folder."""
    if self.path.exists() and (not self.path.is_dir() or any(self._others())):
      raise UserError(f'{self.path} exists and is no run folder (it has no config.json). Give another --workdir')

  def write_config(self, config: dict) -> None:
    """Creates the folder if needed and writes config.json; raises UserError where it cannot be written."""
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      write_json(self.config, config)
    except OSError as error:
      raise UserError(f'the run folder {self.path} cannot be written: {error.strerror}') from error

  def _others(self) -> Iterator[Path]:
    """The folder's contents, without the lock and unfinished files of a process that died."""
    return (path for path in self.path.iterdir() if path != self.lock and path.suffix != UNFINISHED)

  def forget_findings(self) -> None:
    """Deletes the results of other modes on the best checkpoint."""
    for path in (*schema.with_old_names(self.subset_predictions), self.subsets, self.subsets_table, self.diagnostics):
      path.unlink(missing_ok=True)

  @property
  def is_export(self) -> bool:
    """Whether this is an export of a run instead of a run folder."""
    return (self.path / EXPORT).exists()

  def read_config(self) -> dict:
    """The contents of config.json, of any version; raises UserError where this is no run folder."""
    if self.is_export:
      raise UserError(f'{self.path} is an export of a run, no run folder; mils_jax.load takes one of the format hub')
    if not self.config.exists():
      raise UserError(f'{self.path} is no run folder: it has no config.json. Train one first, or give its --workdir')
    return read_json(self.config)

  def read_results(self) -> dict | None:
    """The results of the run, None where it is not finished."""
    return schema.upgraded('results', read_json(self.results)) if self.results.exists() else None

  def read_metrics(self) -> list[dict]:
    """The metrics of each epoch so far; a last line that a dying process left unfinished is ignored."""
    if not self.metrics.exists():
      return []
    try:
      return [json.loads(line) for line in self.metrics.read_text().splitlines(keepends=True) if line.endswith('\n')]
    except ValueError as error:
      raise RunError(f'{self.metrics} cannot be read: {error}. Restore the file, or train anew in another --workdir'
                     ) from error


def write_json(path: Path, values: Any) -> None:
  """Writes a JSON file atomically: a reader never sees half of it."""
  with replaced(path) as unfinished:
    unfinished.write_text(json.dumps(values, indent=2) + '\n')


def read_json(path: Path) -> dict:
  """Reads a JSON object; raises RunError where the file cannot be read."""
  try:
    values = json.loads(path.read_text())
    if not isinstance(values, dict):
      raise ValueError('not a JSON object')
    return values
  except (OSError, ValueError) as error:
    raise RunError(f'{path} cannot be read: {error}. Delete the run folder, or restore the file') from error


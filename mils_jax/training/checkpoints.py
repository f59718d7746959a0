"""Checkpoints of a run, kept by Orbax: the latest two states, and the best variables by validation.

    checkpoints/latest/STEP   variables, progress, record: a run resumes from here, at any step
    checkpoints/best/STEP     variables, record: used by evaluation
    checkpoints/damaged/STEP  what could not be restored, moved out of the way

This is the only module that uses Orbax. `variables` are parameters and batch statistics, `progress` is the rest of the
training state, `record` describes what is saved, with checksums that are verified on restore. Arrays are saved from and
restored to the host, so a run may resume with another number of devices or processes. Of several processes only the
first saves and restores: it holds the whole state (see shared_checkpoints.py).
"""

import contextlib
import dataclasses
import errno
import gc
import os
import shlex
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from orbax.checkpoint import checkpoint_managers

from mils_jax import invocation
from mils_jax.errors import DamagedError, RunError, UserError, one_line
from mils_jax.training.quiet import quiet_failures
from mils_jax.training.record import ModelSpec, Record
from mils_jax.training.selection import Score
from mils_jax.training.state import TrainState

LATEST_KEPT = 2
NOT_DAMAGE = ('ABORTED', 'CANCELLED', 'DEADLINE_EXCEEDED', 'INTERNAL', 'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED',
              'UNAUTHENTICATED', 'UNAVAILABLE', 'UNIMPLEMENTED', 'UNKNOWN')  # status codes
ABANDONED_READS = 0.3  # seconds that the reads of other arrays get to end after one has failed


class Checkpoints:
  """The checkpoints of one run folder. Saving continues in the background until `wait`.

  A checkpoint is written only after the best one of the earlier steps is on disk: so whatever state a run resumes from,
  the best checkpoint before it exists.

  Args:
    folder: folder of the checkpoints; it need not exist yet.
    read_only: whether nothing may be created, moved or deleted.
  """

  def __init__(self, folder: Path, read_only: bool = False):
    self._folder = folder
    self._latest = _manager(folder / 'latest', LATEST_KEPT, read_only)
    self._best = _manager(folder / 'best', 1, read_only)

  @property
  def latest_step(self) -> int | None:
    return self._latest.latest_step()

  @property
  def best_step(self) -> int | None:
    return self._best.latest_step()

  def save(self, step: int, state: TrainState, spec: ModelSpec) -> None:
    """Saves the state after `step` steps, unless it is already saved."""
    if step == self.latest_step:
      return
    variables, progress = _split(_on_host(state))
    self.wait()
    self._save(self._latest, step, {'variables': variables, 'progress': progress}, spec, None)

  def save_best(self, step: int, variables: dict, spec: ModelSpec, score: Score) -> int:
    """Saves the variables after `step` steps if their score is the highest so far; returns the step of the best."""
    self._wait(self._best)
    if self.best_step is not None:
      best = self._best_record().score
      assert best is not None  # the best checkpoint was validated
      if step <= self.best_step or score <= best:
        return self.best_step
    self._save(self._best, step, {'variables': _on_host(variables)}, spec, score)
    return step

  def restore_latest(self, like: TrainState) -> tuple[TrainState | None, list[str]]:
    """The newest undamaged state, on the host, and a line for each checkpoint that was skipped.

    The state is None where there is no checkpoint. Damaged ones are moved aside once an undamaged one is found.

    Raises:
      RunError: there are checkpoints, and all are damaged.
      UserError: the newest undamaged one belongs to another configuration.
    """
    variables, progress = _split(like)
    skipped: dict[int, str] = {}
    for step in sorted(self._latest.all_steps(), reverse=True):
      try:
        _, parts = _restore(self._latest, step, {'variables': variables, 'progress': progress})
      except DamagedError as error:
        skipped[step] = f'the checkpoint of step {step} is damaged: {error}'
        continue
      lines = [f'{line}; moved to {self._set_aside(bad)}' for bad, line in skipped.items()]
      return dataclasses.replace(like, **parts['variables'], **parts['progress']), lines
    if skipped:
      raise RunError(f'no checkpoint in {self._folder} can be restored: {"; ".join(skipped.values())}. Nothing was '
                     'started afresh; to train anew, give another --workdir or delete this one')
    return None, []

  def restore_best(self, like: dict) -> dict:
    """The best variables, on the host; `like` gives their shapes.

    Raises:
      RunError: they are damaged.
    """
    try:
      return _restore(self._best, self.best_step, {'variables': like})[1]['variables']
    except DamagedError as error:
      raise self._best_is_damaged(error) from error

  def best_structure(self) -> dict:
    """Shape and dtype of each of the best variables, for any model.

    Raises:
      RunError: the checkpoint is damaged.
    """
    arrays = {path: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype))
              for path, (shape, dtype, _) in self._best_record().arrays.items()}
    return traverse_util.unflatten_dict(arrays, sep='/')['variables']

  def restore_spec(self) -> ModelSpec:
    """The specification of the best checkpoint's model."""
    return self._best_record().spec

  def spec_of_latest(self, step: int) -> ModelSpec:
    """The specification of the model in the checkpoint after `step` steps, which was already restored."""
    return _restore(self._latest, step, {})[0].spec

  def _best_record(self) -> Record:
    try:
      return _restore(self._best, self.best_step, {})[0]
    except DamagedError as error:
      raise self._best_is_damaged(error) from error

  def _best_is_damaged(self, error: DamagedError) -> RunError:
    run, damaged = self._folder.parent, f'the best checkpoint, of step {self.best_step}, is damaged: {error}'
    if self.latest_step is None:
      return RunError(f'{damaged}. There is no other: make the run again in another folder, by the command in '
                      f'{run / "run.json"}')
    again = shlex.join(['rm', '-rf', f'{self._folder / "best"}', f'{run / "results.json"}'])
    return RunError(f'{damaged}. The latest is kept; to take the best epoch from there on: {again} && '
                    + invocation.command('train', workdir=run))

  def _save(self, manager: ocp.CheckpointManager, step: int, parts: dict, spec: ModelSpec,
            score: Score | None) -> None:
    record = Record.of(parts, spec, score)
    items = {name: ocp.args.StandardSave(part) for name, part in parts.items()}
    try:
      saved = manager.save(step, args=ocp.args.Composite(**items, record=ocp.args.JsonSave(record.to_json())))
    except Exception as error:
      raise self._saving_failed(error) from error
    if not saved:
      raise RunError(f'the checkpoint of step {step} was not saved: {self._folder} has one of a later step')

  def _wait(self, manager: ocp.CheckpointManager) -> None:
    try:
      manager.wait_until_finished()
    except Exception as error:  # any error of Orbax's threads
      raise self._saving_failed(error) from error

  def _saving_failed(self, error: Exception) -> RunError:
    return RunError(f'saving a checkpoint failed: {_reason(error)}. Older ones are kept in {self._folder}; once there '
                    'is space, run the same command to resume')

  def _set_aside(self, step: int) -> Path:
    self._folder.joinpath('damaged').mkdir(exist_ok=True)
    target = self._folder / 'damaged' / str(step)
    number = 2
    while target.exists():
      target = target.with_name(f'{step}-{number}')
      number += 1
    (self._folder / 'latest' / str(step)).rename(target)
    self._latest.close()
    self._latest = _manager(self._folder / 'latest', LATEST_KEPT, read_only=False)
    return target

  def wait(self) -> None:
    """Waits until everything saved is on disk."""
    self._wait(self._best)
    self._wait(self._latest)

  def __enter__(self) -> 'Checkpoints':
    self._at_exit = contextlib.ExitStack()
    self._at_exit.enter_context(quiet_failures())
    self._at_exit.callback(self._close)
    return self

  def __exit__(self, *error: Any) -> None:
    self._at_exit.__exit__(*error)

  def _close(self) -> None:
    try:
      self.wait()
    finally:
      for manager in (self._best, self._latest):
        try:
          manager.close()
        except Exception as error:
          raise self._saving_failed(error) from error


def _manager(folder: Path, number: int, read_only: bool) -> ocp.CheckpointManager:
  if not read_only:
    folder.mkdir(parents=True, exist_ok=True)
  alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})  # even if there are other processes
  # Where creating a folder in the background fails, Orbax's threads wait for it for twenty minutes.
  at_once = ocp.AsyncOptions(create_directories_asynchronously=False)
  with quiet_failures():  # Orbax warns that what was asked for as read-only is read-only
    # A folder that a killed process left half deleted has no timestamp; Orbax then looks up its owner's name, which a
    # user of a container may lack. The latest steps are kept, so nothing reads timestamps.
    options = ocp.CheckpointManagerOptions(preservation_policy=checkpoint_managers.LatestN(number), create=False,
                                           read_only=read_only, multiprocessing_options=alone,
                                           async_options=at_once, lightweight_initialize=True)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def _restore(manager: ocp.CheckpointManager, step: int | None, like: dict) -> tuple[Record, dict]:
  """The record of a checkpoint (`step` None: the latest), and those of its parts that `like` names.

  Raises:
    DamagedError: anything in it has changed since it was saved.
    UserError: it was saved from another structure.
  """
  try:
    record = Record.from_json(manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))['record'])
    record.check_structure(like)
    if not like:
      return record, {}
    items = {name: ocp.args.StandardRestore(jax.tree.map(_empty_like, part)) for name, part in like.items()}
    restored = manager.restore(step, args=ocp.args.Composite(**items))
    parts = {name: restored[name] for name in like}
    record.check_arrays(parts)
  except (DamagedError, UserError):
    raise
  except Exception as error:  # Orbax raises many kinds, even a bare Exception
    reason, damaged = _reason(error), _proves_damage(error)
  else:
    return record, parts
  time.sleep(ABANDONED_READS)
  gc.collect()
  if damaged:
    raise DamagedError(reason)
  raise RunError(f'the checkpoint of step {step} cannot be read: {reason}. It was left as it is; try again once it can')


def _proves_damage(error: Exception) -> bool:
  """Whether a read failed because of the contents of the checkpoint's files: only then are they damaged.

  Parsers raise KeyError and kinds of ValueError, and so does TensorStore for everything; its message contains the
  status code of the failure (https://abseil.io/docs/cpp/guides/status-codes). A checkpoint that is not readable, or
  only not now, or not by these versions of the libraries, is not damaged.
  """
  gone = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
  unread = any(f'{code}: ' in str(error) for code in NOT_DAMAGE)
  return gone or (isinstance(error, ValueError | KeyError) and not unread)


def _reason(error: Exception) -> str:
  text = one_line(error)
  for disk_full in map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
    if disk_full in text:
      return disk_full
  return text[:200]


def _empty_like(array: Any) -> np.ndarray:
  return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def _on_host(tree: Any) -> Any:
  """Copies the arrays to the host: the next step reuses the devices' memory while these are being written.

  NumPy alone would be an implicit transfer, which training forbids, and on a CPU `device_get` alone is no copy.
  """
  return jax.tree.map(lambda array: np.array(array, copy=True), jax.device_get(tree))


def _split(state: TrainState) -> tuple[dict, dict]:
  """Splits the state into the two parts that are saved, under their names on disk."""
  fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
  return state.collections, {name: value for name, value in fields.items()
                             if name not in TrainState.COLLECTIONS and value is not None}

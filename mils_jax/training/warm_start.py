"""A new run from another run's best weights: what fits is taken, by the names of channels and classes."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from flax import linen as nn

from mils_jax.errors import UserError
from mils_jax.models.variables import abstract_variables
from mils_jax.progress import log
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.state import TrainState


def warm_start(state: TrainState, model: nn.Module, spec: ModelSpec, path: str) -> TrainState:
  """The state before the first step, its variables replaced by another run's best where they fit, and says which.

  Args:
    state: freshly drawn.
    model: that it is of; its axis of channels and of classes is found by varying their number.
    spec: of the new run.
    path: run folder of the other.

  Raises:
    UserError: it is no run folder, has no best checkpoint yet, or nothing of it fits.
    RunError: its best checkpoint is damaged.
  """
  folder = RunFolder(Path(path))
  folder.read_config()
  if not folder.checkpoints.is_dir():
    raise UserError(f'train.init_from={path}: has no checkpoint yet')
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    if checkpoints.best_step is None:
      raise UserError(f'train.init_from={path}: has no validated checkpoint yet: let its first epoch finish')
    other = checkpoints.restore_spec()
    old = checkpoints.restore_best_arrays()
  axes = {'in_channels': (other.channels.names, spec.channels.names),
          'num_classes': (other.classes, spec.classes)}
  named_axes, bound = {}, set()
  for field, (before, after) in axes.items():
    named_axes[field], several = _axes_that_follow(model, field)
    if before != after:  # several values for each name: which is whose is not known here
      bound |= several
  groups: dict[str, list[str]] = {'taken': [], 'adapted': [], 'left fresh': []}

  def fill(path: tuple, fresh: jax.Array) -> np.ndarray:
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    pairs = [(named_axes[field][name], *names) for field, names in axes.items() if name in named_axes[field]]
    value, how = _fit(None if name in bound else old.get(name), np.asarray(fresh), pairs)
    groups[how].append(name)
    return value

  trained = {name: value for name, value in state.collections.items() if name != 'schedules'}  # these begin anew
  variables = jax.tree_util.tree_map_with_path(fill, trained)
  if not groups['taken'] and not groups['adapted']:
    raise UserError(f'train.init_from={path}: nothing of it fits this model')
  _tell(path, groups, axes)
  average = state.average and {name: variables.get(name, values) for name, values in state.average.items()}
  return dataclasses.replace(state, **variables, average=average)


def _fit(old: np.ndarray | None, fresh: np.ndarray, named_axes: list[tuple]) -> tuple[np.ndarray, str]:
  """An array of the new run, and whether the old one was taken, adapted or of no use.

  Args:
    old: of the other run, None where it has none.
    fresh: newly drawn; what has no counterpart keeps its values.
    named_axes: (axis, old names, new names) of the axes that stand for channels or classes.
  """
  free = {axis for axis, _, _ in named_axes}
  if old is None or old.ndim != fresh.ndim or any(
      old.shape[axis] != fresh.shape[axis] for axis in range(fresh.ndim) if axis not in free):
    return fresh, 'left fresh'
  if all(before == after and old.shape[axis] == fresh.shape[axis] for axis, before, after in named_axes):
    return old, 'taken'
  sources, targets = [np.arange(size) for size in old.shape], [np.arange(size) for size in fresh.shape]
  for axis, before, after in named_axes:
    common = [name for name in after if name in before]
    sources[axis] = np.array([before.index(name) for name in common], int)
    targets[axis] = np.array([after.index(name) for name in common], int)
    if not common:
      return fresh, 'left fresh'
  value = fresh.copy()
  value[np.ix_(*targets)] = old[np.ix_(*sources)]
  return value, 'adapted'


def _axes_that_follow(model: nn.Module, field: str) -> tuple[dict[str, int], set[str]]:
  """Which axis of which variable has the size of a model's field, and which variables have one of a multiple of it."""
  def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    variables = abstract_variables(network, (32, 32))
    return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
            for path, leaf in jax.tree_util.tree_leaves_with_path(variables)}

  before = shapes(model)
  # By two amounts: an axis that only depends on the field, such as a quarter of the channels, grows by others.
  grown = {amount: shapes(model.clone(**{field: getattr(model, field) + amount})) for amount in (4, 8)}
  def growth(name: str, axis: int) -> set[float]:
    """By how many the axis grows for each that the field does."""
    return {(after[name][axis] - before[name][axis]) / amount for amount, after in grown.items()}

  axes = [(name, axis, growth(name, axis)) for name, shape in before.items() for axis in range(len(shape))]
  return ({name: axis for name, axis, by in axes if by == {1}},
          {name for name, _, by in axes if len(by) == 1 and by.pop() > 1})


def _tell(path: str, groups: dict[str, list[str]], axes: dict[str, tuple]) -> None:
  log(f'starting from the best weights of {path}: '
      + ', '.join(f'{len(names)} arrays {how}' for how, names in groups.items()))
  for how in ('adapted', 'left fresh'):
    if groups[how]:
      log(f'  {how}: {", ".join(groups[how])}')
  for field, (before, after) in axes.items():
    if before != after:
      kind = {'in_channels': 'channels', 'num_classes': 'classes'}[field]
      for what, names in (('taken', [name for name in after if name in before]),
                          ('left fresh', [name for name in after if name not in before]),
                          ('not needed', [name for name in before if name not in after])):
        if names:
          log(f'  {kind} {what}: {", ".join(names)}')

"""Starts a new run from existing weights: whatever fits is taken, by the names of channels and classes."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from flax import linen as nn

from mils_jax.errors import UserError
from mils_jax.models.torch_names import OWN
from mils_jax.models.variables import abstract_variables, by_path
from mils_jax.progress import log
from mils_jax.training.record import ModelSpec
from mils_jax.training.start_weights import Start, start_weights
from mils_jax.training.state import TrainState


def warm_start(state: TrainState, model: nn.Module, spec: ModelSpec, path: str) -> TrainState:
  """Replaces variables of the state before the first step by others where they fit, and logs which.

  Args:
    state: the freshly drawn state.
    model: its model; the axes of channels and classes are found by varying their number.
    spec: specification of the new run.
    path: folder of another run, or a file of weights.

  Raises:
    UserError: as `start_weights`, or none of the weights fit.
    RunError: the other run's best checkpoint is damaged.
  """
  start = start_weights(path, model, spec)
  axes = {'in_channels': (start.channels, spec.channels.names),
          'num_classes': (start.classes, spec.classes)}
  named_axes, bound = {}, set()
  for field, (before, after) in axes.items():
    named_axes[field], several = _axes_that_follow(model, field)
    if before != after:  # several values for each name: their assignment is not known here
      bound |= several
  groups: dict[str, list[str]] = {'taken': [], 'adapted': [], 'left fresh': []}

  def fill(path: tuple, fresh: jax.Array) -> np.ndarray:
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    pairs = [(axis, *names) for field, names in axes.items() for axis in named_axes[field].get(name, ())]
    of_channels = named_axes['in_channels'].get(name, ())
    blended = of_channels[0] if of_channels and start.blends and not OWN.match(name) else None
    old = None if name in bound else start.arrays.get(name)
    value, how = _fit(old, np.asarray(fresh), pairs, blended)
    groups[how].append(name)
    return value

  trained = {name: value for name, value in state.collections.items() if name != 'schedules'}  # schedules restart
  variables = jax.tree_util.tree_map_with_path(fill, trained)
  if not groups['taken'] and not groups['adapted']:
    raise UserError(f'train.init_from={path}: nothing of it fits this model')
  _tell(start, groups, axes)
  average = state.average and {name: variables.get(name, values) for name, values in state.average.items()}
  return dataclasses.replace(state, **variables, average=average)


def _fit(old: np.ndarray | None, fresh: np.ndarray, named_axes: Sequence[tuple],
         blended: int | None = None) -> tuple[np.ndarray, str]:
  """An array of the new run, and whether the old one was taken, adapted or not used.

  Args:
    old: array to start from, None where there is none.
    fresh: newly drawn array; entries without a counterpart keep its values.
    named_axes: (axis, old names, new names) of the axes of channels or classes.
    blended: the one of these axes along which entries without a counterpart get the mean of all old ones instead.
  """
  free = {axis for axis, _, _ in named_axes}
  if old is None or old.ndim != fresh.ndim or any(
      old.shape[axis] != fresh.shape[axis] for axis in range(fresh.ndim) if axis not in free):
    return fresh, 'left fresh'
  if all(before == after and old.shape[axis] == fresh.shape[axis] for axis, before, after in named_axes):
    return old, 'taken'
  if blended is not None:
    (names,) = [(before, after) for axis, before, after in named_axes if axis == blended]
    old = _blended(old, blended, *names)
    named_axes = [(axis, after if axis == blended else before, after) for axis, before, after in named_axes]
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


def _blended(old: np.ndarray, axis: int, before: Sequence[str], after: Sequence[str]) -> np.ndarray:
  """The old array with the new channels along an axis: by name, else the mean; scaled to keep the sum of the whole."""
  mean = old.mean(axis=axis, dtype=np.float64).astype(old.dtype)
  channels = [old.take(before.index(name), axis) if name in before else mean for name in after]
  return np.stack(channels, axis) * (len(before) / len(after))


def _axes_that_follow(model: nn.Module, field: str) -> tuple[dict[str, list[int]], set[str]]:
  """Which axes of which variables have the size of a model's field, and which variables have a multiple of it."""
  def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in by_path(abstract_variables(network, (32, 32))).items()}

  before = shapes(model)
  # Grow the field by two amounts: an axis that only depends on it, such as a quarter of the channels, grows otherwise.
  grown = {amount: shapes(model.clone(**{field: getattr(model, field) + amount})) for amount in (4, 8)}
  def growth(name: str, axis: int) -> set[float]:
    """By how much the axis grows per unit of the field."""
    return {(after[name][axis] - before[name][axis]) / amount for amount, after in grown.items()}

  axes = [(name, axis, growth(name, axis)) for name, shape in before.items() for axis in range(len(shape))]
  return ({name: [axis for own, axis, by in axes if own == name and by == {1}] for name in before},
          {name for name, _, by in axes if len(by) == 1 and by.pop() > 1})


def _tell(start: Start, groups: dict[str, list[str]], axes: dict[str, tuple]) -> None:
  log(f'starting from {start.title}: ' + ', '.join(f'{len(names)} arrays {how}' for how, names in groups.items()))
  for note in start.notes:
    log(f'  {note}')
  for how in ('adapted', 'left fresh'):
    if groups[how]:
      log(f'  {how}: {", ".join(groups[how])}')
  for field, (before, after) in axes.items():
    if before and before != after:
      kind = {'in_channels': 'channels', 'num_classes': 'classes'}[field]
      blends = start.blends and field == 'in_channels'
      taken, rest = ([name for name in after if (name in before) == there] for there in (True, False))
      unused = [name for name in before if name not in after and not (blends and rest)]  # else in the mean
      for what, names in (('taken', taken), ('from the mean of all' if blends else 'left fresh', rest),
                          ('not needed', unused)):
        if names:
          log(f'  {kind} {what}: {", ".join(names)}')
      if blends and len(before) != len(after):
        log(f'  weights of channels scaled by {len(before)}/{len(after)}: their sum keeps its size')

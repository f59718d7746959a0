"""Weights that a new run can start from: another run's best weights, or a file of weights in PyTorch's names.

Such a file names neither channels nor classes. Three channels are R, G and B where an input channel has such a name.
Otherwise, if there are as many channels or classes as the model has, they are assumed to be the same ones, in order.
Every assumption is printed.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn

from mils_jax.errors import UserError
from mils_jax.models.torch_names import from_torch, resized_for
from mils_jax.models.variables import by_path
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.weight_files import is_weight_file, read_weight_file

COLORS = {'R': ('r', 'red'), 'G': ('g', 'green'), 'B': ('b', 'blue')}  # names of input channels, in any case


@dataclasses.dataclass(frozen=True)
class Start:
  """Weights to start from.

  Attributes:
    title: description for messages.
    arrays: the arrays by their paths in the variables.
    channels: names of their input channels.
    classes: names of their classes; empty where they cannot be those of the new run.
    blends: whether an input channel that they lack gets their mean, where it only enters a weighted sum.
    notes: notes on them for the user.
  """

  title: str
  arrays: dict[str, np.ndarray]
  channels: tuple[str, ...]
  classes: tuple[str, ...]
  blends: bool = False
  notes: tuple[str, ...] = ()


def start_weights(path: str, model: Any, spec: ModelSpec) -> Start:
  """Loads the weights in a run folder or a file, for a new run of this model and specification.

  Raises:
    UserError: as `check_start` and `check_network`, or the run has no best checkpoint yet.
    RunError: its best checkpoint is damaged.
  """
  return _of_file(path, model, spec) if is_weight_file(path) else _of_run(path)


def check_start(path: str) -> None:
  """Raises UserError where there is no run folder, or a file of weights that cannot be read."""
  if is_weight_file(path):
    _read(path)
  else:
    RunFolder(Path(path)).read_config()


def check_network(path: str, model: nn.Module) -> None:
  """Raises UserError for a file of another network's weights; from a run, `warm_start` takes what fits."""
  if is_weight_file(path):
    _variables(path, model)


def _of_run(path: str) -> Start:
  folder = RunFolder(Path(path))
  folder.read_config()
  if not folder.checkpoints.is_dir():
    raise UserError(f'train.init_from={path}: has no checkpoint yet')
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    if checkpoints.best_step is None:
      raise UserError(f'train.init_from={path}: has no validated checkpoint yet: let its first epoch finish')
    other = checkpoints.restore_spec()
    best = checkpoints.restore_best(like=checkpoints.best_structure())
    return Start(f'the best weights of {path}', by_path(best), other.channels.names, other.classes)


def _of_file(path: str, model: Any, spec: ModelSpec) -> Start:
  their_model, variables, notes = _variables(path, model)
  channels, how = _channels(their_model.in_channels, spec.channels.names)
  classes, same = their_model.num_classes, their_model.num_classes == model.num_classes
  if 'classifier' not in variables['params']:
    head = 'it has no classifier'
  elif same:
    head = f'its {classes} classes have no names and are assumed to be those here, in order'
  else:
    head = f'its {classes} classes have no names and here are {model.num_classes}: the classifier is left fresh'
  return Start(f'the weights in {path}', by_path(variables), channels, spec.classes if same else (), True,
               (*notes, how, head))


def _variables(path: str, model: nn.Module) -> tuple[Any, dict, list[str]]:
  """The network with the file's numbers of channels and classes, its variables, and notes on what was read."""
  arrays, notes = _read(path)
  their_model = resized_for(model, arrays)
  try:
    return their_model, from_torch(their_model, arrays, partial=True), notes
  except UserError as error:
    raise UserError(f'train.init_from={path}: {error}') from error


def _read(path: str) -> tuple[dict[str, np.ndarray], list[str]]:
  try:
    return read_weight_file(path)
  except UserError as error:
    raise UserError(f'train.init_from={error}') from error


def _channels(count: int, names: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
  """The names of a file's channels, by a model's input channels, and a note on how they were decided."""
  own = {color: name for color, known in COLORS.items() for name in reversed(names) if name.lower() in known}
  if count == len(COLORS) and (own or len(names) != count):
    return tuple(own.get(color, color) for color in COLORS), f'its {count} channels are assumed to be R, G and B'
  if count == len(names):
    return names, f'its {count} channels have no names and are matched in order: {", ".join(names)}'
  return tuple(f'number {number} in the file' for number in range(1, count + 1)), f'its {count} channels have no names'

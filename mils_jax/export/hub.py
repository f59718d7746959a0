"""A folder for a hub and for `mils_jax.load`: weights by this program's own names, configuration, model card.

    model.safetensors   every variable, by its path in the network
    config.json         the run's configuration, without the paths of the machine that trained it
    export.json         the input channels: names, units, statistics; classes; hashes
    README.md           the model card
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors.numpy import load_file, save

from mils_jax import build
from mils_jax.errors import RunError
from mils_jax.export.function import ExportedModel, Logits
from mils_jax.export.sidecar import HUB_FILES, check_loadable, read_sidecar
from mils_jax.models.variables import abstract_variables, by_path
from mils_jax.restore import Restored
from mils_jax.run_config import RunConfig
from mils_jax.schema import flattened, nested
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import EXPORT, read_json, write_json

WEIGHTS, CONFIG = HUB_FILES
PACKAGES = ('safetensors',)


def write(model: ExportedModel, folder: Path) -> Logits:
  """Writes weights and configuration; returns a function that computes logits from the weights read back."""
  arrays = {name: np.array(array, order='C') for name, array in by_path(model.restored.variables).items()}
  (folder / WEIGHTS).write_bytes(save(arrays, metadata={'format': 'flax'}))  # save_file makes it private
  write_json(folder / CONFIG, without_paths(model.restored.config))
  read = jax.jit(model.function(read_variables(folder)))
  return lambda images, present: np.asarray(read(images, present))


def without_paths(config: RunConfig) -> dict[str, Any]:
  """The contents of config.json, with only the last part of every path: the rest is private."""
  values = dict(flattened(config.to_file()))
  for name, value, option in config.options():
    if option.path and value:
      values[name] = Path(value).name
  return nested(values)


def read_variables(folder: Path) -> dict[str, Any]:
  """Reads the weights as variables of a network, on the host."""
  return traverse_util.unflatten_dict(load_file(folder / WEIGHTS), sep='/')


def restore_folder(folder: Path) -> Restored:
  """Restores the model of such a folder, as `restore` does for a run.

  Raises:
    UserError: the folder is no export, or one of another format.
    RunError: a file has changed, or the weights do not fit the network.
  """
  values = read_sidecar(folder)
  check_loadable(folder, values)
  config = RunConfig.from_file(read_json(folder / CONFIG))
  try:
    spec, step = ModelSpec.from_json(values), int(values['step'])
  except (KeyError, TypeError, ValueError) as error:
    raise RunError(f'{folder / EXPORT} cannot be read: {error}. Export the run again') from error
  model = build.build_model(config.model, config.train.precision, jax.default_backend(), len(spec.channels.names),
                            len(spec.classes), spec.image_size)
  variables = read_variables(folder)
  _check_structure(folder, variables, abstract_variables(model, spec.image_size))
  return Restored(config, model, variables, spec, step, bool(config.data.names))


def _check_structure(folder: Path, variables: dict[str, Any], expected: dict[str, Any]) -> None:
  found = {name: array.shape for name, array in by_path(variables).items()}
  for name, array in by_path(expected).items():
    if found.get(name) != array.shape:
      raise RunError(f'{folder / WEIGHTS} does not fit the network: {name} is {found.get(name, "missing")}, expected '
                     f'{array.shape}')

"""The weights alone, by the names of PyTorch and timm, for a network that is built there."""

import importlib
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from mils_jax.errors import RunError, UserError
from mils_jax.export.function import ExportedModel

FILE = 'model.safetensors'


def check() -> None:
  """Raises UserError where this version knows no names of PyTorch."""
  _torch_names()


def packages() -> tuple[str, ...]:
  return ('safetensors',)


def write(model: ExportedModel, folder: Path) -> None:
  """Writes the arrays and reads them back. They are not run: the network to run them in is PyTorch's.

  Raises:
    RunError: an array that was read back is another.
  """
  arrays = _torch_names().to_torch(model.as_trained, model.restored.variables)
  arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
  (folder / FILE).write_bytes(save(arrays, metadata={'format': 'pt'}))  # which other programs look for
  read = load_file(folder / FILE)
  different = [name for name in sorted(arrays.keys() | read.keys())
               if name not in arrays or name not in read or not np.array_equal(arrays[name], read[name])]
  if different:
    raise RunError(f'{FILE}: {different[0]} is read back as another array than was written')


def _torch_names():
  """The one place where names are asked for: to_torch(network, variables) -> dict of arrays by their names there."""
  try:
    return importlib.import_module('mils_jax.models.torch_names')
  except ImportError as error:
    raise UserError('--format safetensors: this version of the program knows no names of PyTorch. Valid here: '
                    'stablehlo, onnx, hub') from error

"""The weights alone, by the names of PyTorch and timm, for a network that is built there."""

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file, save

from mils_jax.errors import UserError
from mils_jax.export.function import ExportedModel, Logits

FILE = 'model.safetensors'


def check() -> None:
  """Raises UserError where this version knows no names of PyTorch."""
  _torch_names()


def packages() -> tuple[str, ...]:
  return ('safetensors',)


def write(model: ExportedModel, folder: Path) -> Logits:
  """Writes the arrays; what is compared is computed from them as they are read back, by this program's own network."""
  names, network = _torch_names(), model.as_trained
  arrays = {name: np.array(array, order='C')
            for name, array in names.to_torch(network, model.restored.variables).items()}
  (folder / FILE).write_bytes(save(arrays, metadata={'format': 'pt'}))  # which other programs look for
  read = names.from_torch(network, load_file(folder / FILE))
  logits = jax.jit(model.function({**model.restored.variables, **read}))
  return lambda images, present: np.asarray(logits(images, present))


def _torch_names() -> Any:
  """The one place where names are asked for: to_torch(network, variables) gives a state dict, from_torch reads one."""
  try:
    return importlib.import_module('mils_jax.models.torch_names')
  except ImportError as error:
    raise UserError('--format safetensors: this version of the program knows no names of PyTorch. Valid here: '
                    'stablehlo, onnx, hub') from error

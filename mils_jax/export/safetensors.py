"""The weights alone, by the names of PyTorch and timm, for a network that is built there."""

from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load_file, save

from mils_jax.errors import UserError
from mils_jax.export.function import ExportedModel, Logits
from mils_jax.models.torch_names import from_torch, to_torch

FILE = 'model.safetensors'
PACKAGES = ('safetensors',)
PLAIN = {'imputation': 'zero', 'rescale': False, 'conditioning': 'none', 'attend_presence': False}


def write(model: ExportedModel, folder: Path) -> Logits:
  """Writes the arrays; returns a function that computes logits with this program's network from the arrays read back.

  Raises:
    UserError: the network treats missing channels in a way that plain networks do not.
  """
  network = model.as_trained
  for field, plain in PLAIN.items():
    if getattr(network, field, plain) != plain:
      raise UserError(f'--format safetensors holds weights of plain networks, and model.{field} is '
                      f'{getattr(network, field)}. Valid here: stablehlo, onnx, hub')
  arrays = to_torch(network, model.restored.variables)
  (folder / FILE).write_bytes(save(arrays, metadata={'format': 'pt'}))  # other programs expect this
  read = from_torch(network, load_file(folder / FILE))
  logits = jax.jit(model.function({**model.restored.variables, **read}))
  return lambda images, present: np.asarray(logits(images, present))

"""The export formats by name. No library is loaded here, since --help lists them."""

import importlib
from typing import Any

from mils_jax.errors import unknown

FORMATS = {
    'stablehlo': 'for JAX alone, on CPUs, GPUs and TPUs',
    'onnx': 'for ONNX Runtime and the like',
    'safetensors': 'weights by the names of PyTorch and timm',
    'hub': 'a folder that mils_jax.load and the Hugging Face Hub take',
}


def find_format(name: str) -> Any:
  """The format of this name: a module with a function and a constant.

  `write(model, folder)` writes a model's files into an empty folder and gives what computes logits from these files, to
  be compared with the model; it raises UserError where the format cannot hold this model. `PACKAGES` are those whose
  versions matter, beside JAX.

  Raises:
    UserError: there is none, and the nearest is named, or it needs a package that is not installed.
  """
  if name not in FORMATS:
    raise unknown('--format', name, FORMATS)
  return importlib.import_module(f'mils_jax.export.{name}')

"""The export formats by name. No library is loaded here, since --help lists them."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from mils_jax.errors import unknown

if TYPE_CHECKING:
  from mils_jax.export.function import ExportedModel, Logits

FORMATS = {
    'stablehlo': 'for JAX alone, on CPUs, GPUs and TPUs',
    'onnx': 'for ONNX Runtime and the like',
    'safetensors': 'weights by the names of PyTorch and timm',
    'hub': 'a folder that mils_jax.load and the Hugging Face Hub take',
}


class Format(Protocol):
  """The interface of a format, which is a module with these functions."""

  def check(self) -> None:
    """Raises UserError where a package is not installed."""
    ...

  def write(self, model: 'ExportedModel', folder: Path) -> 'Logits':
    """Writes the files into an empty folder.

    Returns:
      A function that computes logits from these files, for the comparison with the model.

    Raises:
      UserError: the format cannot hold this model.
    """
    ...

  def packages(self) -> tuple[str, ...]:
    """Names of the packages whose versions matter, beside JAX."""
    ...


def find_format(name: str) -> Format:
  """The format of this name; raises UserError, which suggests the nearest, where there is none."""
  if name not in FORMATS:
    raise unknown('--format', name, FORMATS)
  return cast(Format, importlib.import_module(f'mils_jax.export.{name}'))

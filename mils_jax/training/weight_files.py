"""Reads files of weights that PyTorch and timm write: safetensors, and PyTorch's own format without running code."""

import argparse
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from mils_jax import invocation
from mils_jax.errors import UserError
from mils_jax.models.torch_names import COUNTER
from mils_jax.packages import require

SAFETENSORS, PICKLES = '.safetensors', ('.pth', '.pt')
WRAPPERS = ('state_dict', 'model')  # keys of the weights in a full training checkpoint
PREFIXES = ('module.', '_orig_mod.')  # added by DataParallel and torch.compile
OLDEST_TORCH = (2, 6)  # in earlier versions weights_only could be made to run code: CVE-2025-32434


def is_weight_file(path: str) -> bool:
  """Whether a path names a file of weights instead of a run folder; it need not exist."""
  return not Path(path).is_dir() and (Path(path).suffix.lower() in (SAFETENSORS, *PICKLES) or Path(path).is_file())


def read_weight_file(path: str) -> tuple[dict[str, np.ndarray], list[str]]:
  """Reads the arrays of a file by their names, as float32, with notes on changes of the names.

  Raises:
    UserError: there is no such file, it is damaged, holds anything but weights, or PyTorch is needed and missing.
  """
  suffix = Path(path).suffix.lower()
  if suffix not in (SAFETENSORS, *PICKLES):
    raise UserError(f'{path}: is no run folder and no file of weights. Valid: .safetensors, .pth, .pt')
  try:
    with open(path, 'rb'):  # the libraries report less clearly why a file cannot be read
      pass
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}') from error
  arrays, notes = _unwrapped(_safetensors(path) if suffix == SAFETENSORS else _pickled(path), path)
  arrays = {name: array for name, array in arrays.items() if name.rpartition('.')[2] != COUNTER}
  if not arrays:
    raise UserError(f'{path}: holds no weights')
  return {name: _float32(array, f'{path}: {name}') for name, array in arrays.items()}, notes


def _safetensors(path: str) -> Mapping[str, Any]:
  try:
    return safetensors.numpy.load_file(path)
  except (safetensors.SafetensorError, OSError, AttributeError, TypeError, ValueError) as error:  # the last for dtypes
    raise UserError(f'{path}: cannot be read as safetensors ({_reason(error)})') from error


def _pickled(path: str) -> Any:
  torch = import_torch(path)
  try:
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():  # timm saves its options
      warnings.simplefilter('ignore')  # it warns about what it then fails at
      return torch.load(path, map_location='cpu', weights_only=True)
  except Exception as error:  # many kinds, by where the reading fails
    forbidden = re.search(r'[Uu]nsupported (?:global: )?GLOBAL (\S+)', str(error))
    if forbidden:
      raise UserError(f'{path}: holds {forbidden[1]}, which only running its code would load; expected tensors alone, '
                      'as torch.save(model.state_dict(), FILE) writes') from error
    raise UserError(f"{path}: cannot be read as PyTorch's weights ({_reason(error)})") from error


def import_torch(path: str) -> Any:
  """Imports PyTorch; raises UserError where it is missing, or so old that reading a file may run code in it."""
  torch = require('torch', path, f'{invocation.install("torch")}, or save it as .safetensors')
  if tuple(map(int, torch.__version__.split('.')[:2])) < OLDEST_TORCH:
    raise UserError(f'{path}: PyTorch {torch.__version__} may run code that a file brings (CVE-2025-32434); expected '
                    f'{".".join(map(str, OLDEST_TORCH))} or later')
  return torch


def _unwrapped(loaded: Any, path: str) -> tuple[dict[str, Any], list[str]]:
  """The weights inside a checkpoint, by names without prefixes, and notes."""
  notes = []
  for wrapper in WRAPPERS:
    if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
      loaded = loaded[wrapper]
      notes.append(f"its weights are those under '{wrapper}'")
  if not isinstance(loaded, Mapping) or not all(isinstance(name, str) and hasattr(value, 'shape')
                                                for name, value in loaded.items()):
    raise UserError(f'{path}: holds something other than arrays by name; expected a state dict, alone or under '
                    + ' or '.join(f"'{wrapper}'" for wrapper in WRAPPERS))
  arrays = dict(loaded)
  for prefix in PREFIXES:
    if arrays and all(name.startswith(prefix) for name in arrays):
      arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
      notes.append(f"its names begin with '{prefix}', which is left out")
  return arrays, notes


def _float32(array: Any, name: str) -> np.ndarray:
  """A NumPy array or tensor as float32; raises UserError for other than finite floating point numbers."""
  if not isinstance(array, np.ndarray):
    try:
      array = (array.float() if array.is_floating_point() else array).numpy()
    except (RuntimeError, TypeError) as error:  # sparse or quantized
      raise UserError(f'{name} is no plain array ({_reason(error)})') from error
  if array.dtype.kind != 'f' and array.dtype.name != 'bfloat16':
    raise UserError(f'{name} is {array.dtype.name}; expected floating point numbers')
  array = np.asarray(array, np.float32)
  if not np.isfinite(array).all():
    raise UserError(f'{name} has NaN or Inf')
  return array


def _reason(error: Exception) -> str:
  """The first sentence of a message; for PyTorch's long ones about what it does not load, the one with the reason."""
  text = str(error).rpartition('WeightsUnpickler error: ')[2].strip()
  return text.splitlines()[0].partition('. ')[0][:200] if text else type(error).__name__

"""Converts a network's variables to a PyTorch state dict and back: names and orders of axes change, values do not.

    ours                                   ResNet34: torchvision, timm  DynamicResNet12, WideCNN
    stem_conv, stem_norm                   conv1, bn1                   stem, norm
    stage2_block1/conv1, norm1             layer2.0.conv1, bn1          blocks.3.conv1, norm1 (counted through)
    stage2_block1/shortcut_conv, _norm     layer2.0.downsample.0, .1    blocks.3.shortcut.0, .1
    stage2/conv, norm, shortcut_conv                                    stages.1.conv, norm, shortcut.0
    stage2/squeeze_excite/squeeze, excite                               stages.1.gate.squeeze, excite
    classifier                             fc                           classifier

The names of DynamicResNet12 and WideCNN are those of plain PyTorch modules (benchmarks/pytorch_networks.py). Parts that
these lack (presence, imputation, statistics) are named by their path. A scheduled temperature is not included.

    array                          here                      in PyTorch
    convolution                    kernel (k, k, I, O)       weight (O, I, k, k)
    dynamic convolution            kernels (K, k, k, I, O)   kernels (K, O, I, k, k)
    its attention's two layers     attention/squeeze/kernel  squeeze.weight (O, I, 1, 1)
    fully connected layer          kernel (I, O), bias       weight (O, I), bias
    batch normalisation            scale, bias, mean, var    weight, bias, running_mean, running_var
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from flax import traverse_util

from mils_jax.errors import UserError
from mils_jax.models.dynamic_resnet import DynamicResNet12
from mils_jax.models.resnet import ResNet34
from mils_jax.models.variables import abstract_variables, by_path
from mils_jax.models.wide_cnn import WideCNN

COUNTER = 'num_batches_tracked'  # in PyTorch's batch normalisation; neither read nor written, as no result needs it
HEAD = 'params/classifier/'
FIRST = ('params/stem_conv/kernel', 'params/stem_conv/kernels', 'params/stage1/conv/kernel')  # axis -2: input channels
# Parts that the plain networks lack.
OWN = re.compile(r'(params|batch_stats)/(input|statistics|stem_film|stage\d+_film)/')

_SHORTCUT = {'shortcut_conv': 'shortcut.0', 'shortcut_norm': 'shortcut.1'}
_DYNAMIC = {'stem_conv': 'stem', 'stem_norm': 'norm', **_SHORTCUT}
_WIDE = {'squeeze_excite': 'gate', **_SHORTCUT}
_RESNET = {'stem_conv': 'conv1', 'stem_norm': 'bn1', 'norm1': 'bn1', 'norm2': 'bn2', 'shortcut_conv': 'downsample.0',
           'shortcut_norm': 'downsample.1', 'classifier': 'fc'}
_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}


@dataclasses.dataclass(frozen=True)
class TorchArray:
  """How one of our arrays is stored in a state dict.

  Attributes:
    name: its name there.
    axes: our axes in PyTorch's order.
    ones: number of axes of length 1 that follow there.
  """

  name: str
  axes: tuple[int, ...]
  ones: int = 0

  def to_torch(self, array: np.ndarray) -> np.ndarray:
    """The array for the state dict, as a contiguous copy, which PyTorch and files need."""
    return np.array(np.transpose(array, self.axes), order='C').reshape(self.shape(np.shape(array)))

  def from_torch(self, array: np.ndarray) -> np.ndarray:
    """Our array for an array of the state dict."""
    array = np.asarray(array)
    without_ones = array.reshape(array.shape[:len(self.axes)])
    return np.ascontiguousarray(np.transpose(without_ones, np.argsort(self.axes)))

  def shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the state dict of an array of this shape."""
    return tuple(ours[axis] for axis in self.axes) + (1,) * self.ones


def torch_array(network: nn.Module, path: str, ndim: int) -> TorchArray:
  """How a variable, such as 'params/stem_conv/kernel' with `ndim` axes, is stored in the state dict of a network."""
  _, *modules, leaf = path.split('/')
  as_it_is = tuple(range(ndim))
  if modules[-1:] == ['embedding']:  # of statistics, per channel
    return TorchArray('.'.join([*modules, leaf]), as_it_is)
  name = '.'.join([*_module_names(network, modules), _LEAVES.get(leaf, leaf)])
  if leaf == 'kernels':
    return TorchArray(name, (0, 4, 3, 1, 2))
  if leaf == 'kernel' and ndim == 4:
    return TorchArray(name, (3, 2, 0, 1))
  if leaf == 'kernel' and ndim == 2:
    return TorchArray(name, (1, 0), 2 if 'attention' in modules else 0)
  return TorchArray(name, as_it_is)


def _module_names(network: nn.Module, modules: list[str]) -> Iterable[str]:
  """Translates our module names to those of the state dict: ['stage2_block1', 'conv1'] to ['layer2', '0', 'conv1']."""
  if OWN.match('/'.join(['params', *modules, ''])):
    return modules
  stage, block = (int(number or 0) - 1 for number in _numbers(modules[0]))
  first = modules[:1]
  if isinstance(network, ResNet34):
    names, first = _RESNET, [f'layer{stage + 1}', f'{block}'] if block >= 0 else first
  elif isinstance(network, DynamicResNet12):
    names, first = _DYNAMIC, ['blocks', f'{stage * network.blocks + block}'] if block >= 0 else first
  elif isinstance(network, WideCNN):
    names, first = _WIDE, ['stages', f'{stage}'] if stage >= 0 else first
  else:
    names = {}
  return [names.get(part, part) for part in [*first, *modules[1:]] if part != 'attention']


def _numbers(module: str) -> tuple[str | None, str | None]:
  """The numbers of stage and block: '2', '1' for 'stage2_block1'; '2', None for 'stage2'."""
  found = re.fullmatch(r'stage(\d+)(?:_block(\d+))?', module)
  return (found[1], found[2]) if found else (None, None)


def to_torch(network: nn.Module, variables: Mapping) -> dict[str, np.ndarray]:
  """A network's variables as a PyTorch state dict of NumPy arrays.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.models import WideCNN
    >>> from mils_jax.models.torch_names import to_torch
    >>> network = WideCNN(num_classes=10, in_channels=7, width=8, stages=2)
    >>> variables = network.init(jax.random.key(0), jnp.ones((1, 16, 16, 7)), train=False)
    >>> to_torch(network, variables)['stages.0.conv.weight'].shape  # (7, 7, 7, 8) here
    (8, 7, 7, 7)

  Args:
    network: the network of the variables; it is not run.
    variables: params and batch_stats; schedules are left out, as plain networks store their temperature themselves.
  """
  found = {}
  for path, array in by_path({name: part for name, part in variables.items() if name != 'schedules'}).items():
    entry = torch_array(network, path, np.ndim(array))
    found[entry.name] = entry.to_torch(array)
  return found


def from_torch(network: nn.Module, arrays: Mapping[str, np.ndarray], partial: bool = False) -> dict:
  """A PyTorch state dict as a network's variables; the inverse of `to_torch`.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from mils_jax.models import WideCNN
    >>> from mils_jax.models.torch_names import from_torch, to_torch
    >>> network = WideCNN(num_classes=10, in_channels=7, width=8, stages=2)
    >>> variables = network.init(jax.random.key(0), jnp.ones((1, 16, 16, 7)), train=False)
    >>> restored = from_torch(network, to_torch(network, variables))
    >>> bool((restored['params']['classifier']['kernel'] == variables['params']['classifier']['kernel']).all())
    True

  Args:
    network: the network to make variables for; it is not run.
    arrays: the arrays of the state dict by their names; batch counters are ignored.
    partial: whether the head, and parts that plain PyTorch networks lack, may be missing; they are then missing in the
      result too.

  Raises:
    UserError: the arrays are those of another network; the message names the first differing names and shapes.
  """
  arrays = {name: array for name, array in arrays.items() if name.rpartition('.')[2] != COUNTER}
  own = by_path(abstract_variables(network, (32, 32)))
  parameters_first = sorted(own, key=lambda path: not path.startswith('params/'))
  shapes: dict[str, tuple[int, ...]] = {path: own[path].shape for path in parameters_first}
  entries = {path: torch_array(network, path, len(shape)) for path, shape in shapes.items()}
  needed = {entry.name: entry.shape(shapes[path]) for path, entry in entries.items()}
  optional = {entry.name for path, entry in entries.items() if partial and (path.startswith(HEAD) or OWN.match(path))}
  _check(type(network).__name__, {name: np.shape(array) for name, array in arrays.items()}, needed, optional)
  found = {path: entry.from_torch(arrays[entry.name]) for path, entry in entries.items() if entry.name in arrays}
  return traverse_util.unflatten_dict(found, sep='/')


def resized_for(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> nn.Module:
  """The network with the numbers of input channels and classes of a state dict, where its arrays reveal them."""
  def size(path: str, ndim: int, axis: int) -> int | None:
    entry = torch_array(network, path, ndim)
    array = arrays.get(entry.name)
    return entry.from_torch(array).shape[axis] if array is not None and np.ndim(array) == ndim + entry.ones else None

  channels = next(filter(None, (size(path, 5 if path.endswith('kernels') else 4, -2) for path in FIRST)), None)
  classes = size(f'{HEAD}kernel', 2, -1)
  found: dict[str, Any] = {'in_channels': channels, 'num_classes': classes}
  return network.clone(**{field: number for field, number in found.items() if number})


def _check(network: str, given: Mapping[str, tuple], needed: Mapping[str, tuple], optional: Iterable[str]) -> None:
  """Raises UserError unless the names and shapes are the needed ones."""
  other = [f'{name} is {shape}, expected {needed[name]}' for name, shape in given.items()
           if needed.get(name, shape) != shape]
  unknown = [f'{name} {shape}' for name, shape in given.items() if name not in needed]
  missing = [f'{name} {shape}' for name, shape in needed.items() if name not in given and name not in optional]
  kinds = {'of another shape': other, 'that it does not have': unknown, 'of its own missing': missing}
  if any(kinds.values()):
    raise UserError(f'the arrays are not those of {network}: '
                    + '; '.join(f'{len(found)} {what}, first {found[0]}' for what, found in kinds.items() if found))

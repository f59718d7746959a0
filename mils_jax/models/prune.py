"""Trained dynamic convolutions with fewer kernels: merged into one by a fixed attention, or pruned to the strongest."""

from collections.abc import Mapping

import numpy as np
from flax import traverse_util


def merge_kernels(params: dict, attention: Mapping[str, np.ndarray]) -> dict:
  """The parameters of the same network with num_kernels=1, which computes the same as this one with fixed attention.

  A convolution is linear in its kernel, so K kernels mixed by fixed weights are one kernel.

  Args:
    params: parameters of a network of DynamicConv layers.
    attention: weights (K,) by the layer's name, such as 'stage1_block1/conv1'.
  """
  def change(name: str, array: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    if name != 'kernels':
      return None  # a plain convolution has no attention
    merged = np.tensordot(np.asarray(weights, np.float64), np.asarray(array, np.float64), axes=1)
    return merged[None].astype(array.dtype)

  return _changed(params, attention, change)


def prune_kernels(params: dict, attention: Mapping[str, np.ndarray], keep: int) -> dict:
  """The parameters of the same network with num_kernels=keep; the softmax is over the remaining kernels.

  Args:
    params: parameters of a network of DynamicConv layers.
    attention: weights (K,) by the layer's name; the `keep` kernels with the largest weights stay, in their order.
    keep: 1 to K - 1.
  """
  def change(name: str, array: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    kept = strongest(weights, keep)
    if name == 'kernels':
      return array[kept]
    if keep == 1:
      return None
    return array[:, kept] if name == 'attention/expand/kernel' else array

  return _changed(params, attention, change)


def strongest(weights: np.ndarray, keep: int) -> np.ndarray:
  """Indices of the `keep` largest weights, in ascending order; among equal weights the first."""
  return np.sort(np.argsort(-np.asarray(weights), kind='stable')[:keep])


def _changed(params: dict, attention: Mapping[str, np.ndarray], change) -> dict:
  """`params` after `change(name within the layer, array, weights)` in every layer; it returns None to drop an array."""
  found = {}
  for path, array in traverse_util.flatten_dict(params, sep='/').items():
    layer = next((name for name in attention if path.startswith(name + '/')), None)
    array = array if layer is None else change(path.removeprefix(f'{layer}/'), np.asarray(array), attention[layer])
    if array is not None:
      found[path] = array
  return traverse_util.unflatten_dict(found, sep='/')

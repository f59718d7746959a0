"""Reads the kernel attention of a network over a split, layer by layer, and can freeze it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mils_jax.channels import ChannelMapping
from mils_jax.data.loader import OnDevice, OnHost
from mils_jax.distributed.devices import Devices
from mils_jax.metrics.predictions import Evaluator
from mils_jax.models.variables import abstract_variables
from mils_jax.nn import KernelAttention
from mils_jax.progress import bar


def attention_layers(model: nn.Module, image_size: tuple[int, int]) -> dict[str, int]:
  """The number of kernels K of every convolution with attention, by its name such as 'stage1_block1/conv1', in order.

  Args:
    model: a network with a field `in_channels`.
    image_size: height and width of its images.
  """
  layers: dict[str, int] = {}

  def note(name: str, attention: jax.Array) -> jax.Array:
    layers[name] = attention.shape[-1]
    return attention

  with replaced_attention(note):
    abstract_variables(model, image_size)
  return layers


def replaced_attention(replace: Callable[[str, jax.Array], jax.Array]) -> AbstractContextManager:
  """A context in which every attention (B, K) of the layer `name` is replaced by `replace(name, attention)`."""
  def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> jax.Array:
    result = call(*args, **kwargs)
    if isinstance(context.module, KernelAttention) and context.method_name == '__call__':
      return replace('/'.join(context.module.path[:-1]), result)
    return result

  return nn.intercept_methods(intercept)


class AttentionReader:
  """Applies a model to splits by an Evaluator and reads the attention of all its layers.

  One compiled program serves every subset of channels and every choice of frozen layers.

  Args:
    model: a network whose L attentions are over the same number K of kernels.
    image_size: height and width of its images.
    mapping: mapping of the data's channels in the model's in_channels.
    devices: devices that share each batch.
    batch_size: batch size of all devices together.

  Attributes:
    layers: names of the L layers with attention, in the order of the computation.
    num_kernels: K.
  """

  def __init__(self, model: nn.Module, image_size: tuple[int, int], mapping: ChannelMapping, devices: Devices,
               batch_size: int):
    found = attention_layers(model, image_size)
    self.layers = tuple(found)
    (self.num_kernels,) = set(found.values())
    self._free = np.zeros((len(found), self.num_kernels), np.float32), np.zeros(len(found), bool)

    def forward(variables: dict, images: jax.Array, present: jax.Array, values: jax.Array, frozen: jax.Array
                ) -> tuple[jax.Array, jax.Array]:
      attentions = {}

      def replace(name: str, attention: jax.Array) -> jax.Array:
        attentions[name] = attention
        layer = self.layers.index(name)
        return jnp.where(frozen[layer], values[layer][None], attention)

      with replaced_attention(replace):
        logits = cast(jax.Array, model.apply(variables, images, train=False, present=present))
      return logits, jnp.stack([attentions[name] for name in self.layers], axis=1)  # (B, classes), (B, L, K)

    self._evaluator = Evaluator(model, mapping, devices, batch_size, forward, settings=2)

  def __call__(self, variables: dict, rows: np.ndarray, batches: OnDevice | OnHost, keep: np.ndarray | None = None,
               frozen: tuple[np.ndarray, np.ndarray] | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Logits (B, classes) and attention (B, L, K) of some examples of a split, batch by batch, without padding.

    Args:
      variables: variables of the model, on every device.
      rows: (N,) int32, the examples in the wanted order.
      batches: batches of the split.
      keep: (in_channels,) bool, which channels are kept, the others count as missing; None: all.
      frozen: (L, K) attention, and (L,) bool, the layers that it is fixed to; the returned attention is still their
        own.
    """
    return self._evaluator.outputs(variables, rows, batches, keep, *(frozen or self._free))

  def mean(self, variables: dict, count: int, batches: OnDevice | OnHost, description: str) -> np.ndarray:
    """(L, K) float64: the mean attention over the `count` examples of a split, with all its channels."""
    total = np.zeros((len(self.layers), self.num_kernels))
    with bar(description, count) as advance:
      for _, attention in self(variables, np.arange(count, dtype=np.int32), batches):
        total += attention.sum(axis=0, dtype=np.float64)
        advance(len(attention))
    return total / count


def entropy(weights: np.ndarray) -> np.ndarray:
  """Entropy in nats along the last axis, whose values sum to 1, with 0 log 0 = 0."""
  weights = np.asarray(weights, np.float64)
  return -(weights * np.log(np.where(weights > 0, weights, 1.0))).sum(axis=-1)

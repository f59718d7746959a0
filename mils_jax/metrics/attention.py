"""What the kernel attention of a network does over a split, layer by layer, and what freezing it changes."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mils_jax.channels import ChannelMapping
from mils_jax.data.loader import Batch, EvaluationOrder, OnDevice, OnHost
from mils_jax.distributed.devices import Devices
from mils_jax.models.variables import abstract_variables
from mils_jax.nn import KernelAttention


def attention_layers(model: nn.Module, image_size: tuple[int, int]) -> dict[str, int]:
  """K of every convolution that mixes kernels by attention, by its name such as 'stage1_block1/conv1', in order.

  Args:
    model: with a field `in_channels`.
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
  """Within it, every attention (B, K) of the layer `name` becomes `replace(name, attention)`."""
  def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> jax.Array:
    result = call(*args, **kwargs)
    if isinstance(context.module, KernelAttention) and context.method_name == '__call__':
      return replace('/'.join(context.module.path[:-1]), result)
    return result

  return nn.intercept_methods(intercept)


@dataclasses.dataclass(frozen=True)
class Frozen:
  """Layers whose attention is fixed.

  Attributes:
    values: (L, K) what it is fixed to.
    layers: (L,) bool, which ones; the others keep their own.
  """

  values: np.ndarray
  layers: np.ndarray


class AttentionReader:
  """Applies a model to splits, as Evaluator does, and reads the attention of all its layers.

  One compiled program serves every subset of channels and every choice of frozen layers.

  Args:
    model: whose L attentions are over the same number K of kernels.
    layers: their names.
    kernels: K.
    mapping: of the data's channels in the model's in_channels.
    devices: those that share each batch.
    batch_size: of all devices together.
  """

  def __init__(self, model: nn.Module, layers: tuple[str, ...], kernels: int, mapping: ChannelMapping, devices: Devices,
               batch_size: int):
    self._batch_size = batch_size
    self._all_channels = np.ones(len(mapping.source), bool)
    self._free = Frozen(np.zeros((len(layers), kernels), np.float32), np.zeros(len(layers), bool))

    def forward(variables: dict, keep: jax.Array, values: jax.Array, frozen: jax.Array, batch: Batch
                ) -> tuple[jax.Array, jax.Array]:
      images, present = mapping.apply(batch['image'])
      found = {}

      def replace(name: str, attention: jax.Array) -> jax.Array:
        found[name] = attention
        layer = layers.index(name)
        return jnp.where(frozen[layer], values[layer], attention)

      with replaced_attention(replace):
        logits = model.apply(variables, images, train=False, present=present & keep)
      return logits, jnp.stack([found[name] for name in layers], axis=1)  # (B, classes), (B, L, K)

    self._forward = devices.parallel(forward, replicated=4, shared=1, gather=True)

  def __call__(self, variables: dict, rows: np.ndarray, batches: OnDevice | OnHost, keep: np.ndarray | None = None,
               frozen: Frozen | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Logits (B, classes) and attention (B, L, K) of some examples of a split, batch by batch, without padding.

    Args:
      variables: of the model, on every device.
      rows: which examples, in which order.
      batches: of the split.
      keep: (in_channels,) bool, the others count as missing; None: all.
      frozen: layers whose attention is fixed; what is read is what they would have said.
    """
    places = EvaluationOrder(len(rows), self._batch_size)

    def order(step: int) -> tuple[np.ndarray, np.ndarray]:
      chosen, mask = places(step)
      return rows[chosen], mask

    keep = self._all_channels if keep is None else keep
    frozen = frozen or self._free
    for step, batch in enumerate(batches.batches(order, 0, places.steps_per_epoch)):
      real = min(self._batch_size, len(rows) - step * self._batch_size)
      logits, attention = self._forward(variables, keep, frozen.values, frozen.layers, batch)
      yield tuple(np.asarray(part).reshape(self._batch_size, *part.shape[2:])[:real] for part in (logits, attention))


def entropy(weights: np.ndarray) -> np.ndarray:
  """Entropy in nats along the last axis, whose values sum to 1; 0 log 0 is 0."""
  weights = np.asarray(weights, np.float64)
  return -(weights * np.log(np.where(weights > 0, weights, 1.0))).sum(axis=-1)

"""The exported function: from images in the units of the data to logits, with everything else inside."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mils_jax import build
from mils_jax.data.sources.pixels import nodata_value
from mils_jax.restore import Restored

Logits = Callable[[np.ndarray, np.ndarray], np.ndarray]  # images (B, H, W, C) and present (B, C) to (B, classes)
PRECISION = 'highest'  # of matrix products: GPUs and TPUs would round float32 to fewer bits and give other results


@dataclasses.dataclass(frozen=True)
class ExportedModel:
  """A restored model for export: in float32, with plain convolutions, which every platform supports.

  Attributes:
    restored: restored model of a run.
  """

  restored: Restored

  @cached_property
  def network(self) -> nn.Module:
    """The exported network. It computes all kernels of a dynamic convolution as one plain convolution."""
    plain: dict[str, Any] = {'implementation': 'lax', 'mix': 'outputs'}
    network = self.as_trained
    return network.clone(**{name: value for name, value in plain.items() if hasattr(network, name)})

  @cached_property
  def as_trained(self) -> nn.Module:
    """The network as this program computes it on a CPU in float32; every export is compared with it."""
    config, spec = self.restored.config, self.restored.spec
    return build.build_model(config.model, 'float32', 'cpu', len(spec.channels.names), len(spec.classes),
                             spec.image_size)

  @property
  def classes(self) -> tuple[str, ...]:
    """The names of the logits; a network may have more logits, which no label ever used."""
    return self.restored.spec.classes[:self.network.num_classes]

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(H, W, C) of the images that the function takes."""
    return (*self.restored.spec.image_size, len(self.restored.spec.channels.names))

  def function(self, variables: dict[str, Any] | None = None) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The exported function, not compiled.

    Args:
      variables: variables that were read back, instead of the restored ones.

    Returns:
      A function from images (B, H, W, C) float32 in the units of the data, with C the model's input channels, and a
      mask (B, C) bool that is False where an image lacks the channel, to logits (B, classes) float32. The values of a
      missing channel, even NaN, are ignored, and a channel that training never had is always missing. Pixels with the
      run's data.nodata, where that is a number, are filled as in training; a channel of only such pixels is missing.
    """
    spec = self.restored.spec
    mean, std = (np.array(values, np.float32)[None, None, None] for values in (spec.channels.mean, spec.channels.std))
    trained = np.isin(spec.channels.names, spec.trained)[None]
    fill = np.array(spec.channels.fill or spec.channels.mean, np.float32)[None, None, None]
    nodata = nodata_value(self.restored.config.data.nodata)
    count = len(self.classes)
    given = self.restored.variables if variables is None else variables

    def logits(images: jax.Array, present: jax.Array) -> jax.Array:
      present = present & trained
      if nodata is not None:
        empty = _is(images, nodata)
        images, present = jnp.where(empty, fill, images), present & ~empty.all(axis=(1, 2))
      placed = jnp.where(present[:, None, None, :], (images - mean) / std, 0.0)
      found = cast(jax.Array, self.network.apply(given, placed, train=False, present=present))
      return found[:, :count].astype(jnp.float32)

    return logits


def _is(images: jax.Array, nodata: float) -> jax.Array:
  """Where images hold this value, by the rule of `pixels.without_nodata`, in operations that every format has."""
  if np.isnan(nodata):
    return jnp.isnan(images)
  return images == nodata if np.isinf(nodata) else jnp.abs(images - nodata) <= 1e-6 * abs(nodata)

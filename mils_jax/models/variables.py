"""The variables of a network, without computing them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def abstract_variables(model: nn.Module, image_size: tuple[int, int]) -> dict[str, Any]:
  """Shape and dtype of every variable of a network for images of this height and width; computes nothing."""
  images = jnp.zeros((1, *image_size, model.in_channels))
  return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))

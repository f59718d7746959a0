"""The names, shapes and dtypes of a network's variables, without computing them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def abstract_variables(model: nn.Module, image_size: tuple[int, int]) -> dict[str, Any]:
  """Shape and dtype of every variable of a network for images of this height and width, without computing them."""
  images = jnp.zeros((1, *image_size, model.in_channels))
  return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))


def by_path(tree: Any) -> dict[str, Any]:
  """The leaves of a tree, named 'part/module/array'."""
  return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf
          for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}

"""Image classifiers for any input channels, and shallow wide ones, in JAX and Flax linen."""

import os
from typing import TYPE_CHECKING, Any

from mils_jax.errors import RunError, UserError

if TYPE_CHECKING:
  from mils_jax.classifier import Classifier

__all__ = ['Classifier', 'RunError', 'UserError', '__version__', 'load']

__version__ = '0.1.0'


def load(source: str | os.PathLike) -> 'Classifier':
  """Loads a trained run as a function from images to class probabilities.

  Example:
    >>> import mils_jax
    >>> import numpy as np
    >>> classifier = mils_jax.load(folder)  # such as 'runs/task_a'
    >>> images = np.full((4, 40, 40, 2), 100, np.uint8)  # (N, H, W, C), in the units of the training data
    >>> probabilities = classifier(images, channels=['R', 'G'])
    >>> probabilities.shape == (4, len(classifier.classes))
    True

  Args:
    source: a run folder, a folder that `mils-jax export --format hub` wrote, or such a folder on the Hugging Face Hub
      as 'hf://USER/NAME' or 'hf://USER/NAME@REVISION' (extra `hub`).

  Raises:
    UserError: the source is no such folder, has no checkpoint yet, or is not on the hub.
    RunError: its best checkpoint or a file is damaged, or the download failed.
  """
  from mils_jax.export.load import load_model  # here, so that importing the package loads no library

  return load_model(source)


def __getattr__(name: str) -> Any:
  if name == 'Classifier':
    from mils_jax.classifier import Classifier  # here for the same reason

    return Classifier
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

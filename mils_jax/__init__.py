"""Image classifiers for any input channels, and shallow wide ones, in JAX and Flax linen."""

import os
from typing import TYPE_CHECKING, Any

from mils_jax.errors import RunError, UserError

if TYPE_CHECKING:
  from mils_jax.classifier import Classifier

__all__ = ['Classifier', 'RunError', 'UserError', '__version__', 'load']

__version__ = '0.1.0'


def load(run: str | os.PathLike) -> 'Classifier':
  """A trained run as a function from images to class probabilities.

      classifier = mils_jax.load('runs/task_a')
      probabilities = classifier(images, channels=['R', 'G'])  # (N, H, W, 2) -> (N, classes)

  Args:
    run: the run folder.

  Raises:
    UserError: it is no run folder, or has no checkpoint yet.
    RunError: its best checkpoint is damaged.
  """
  from mils_jax.classifier import load_classifier  # here, so that importing the package loads no library

  return load_classifier(run)


def __getattr__(name: str) -> Any:
  if name == 'Classifier':
    from mils_jax.classifier import Classifier  # here, likewise

    return Classifier
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

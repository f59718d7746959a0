"""The weight of each class in the loss."""

from collections.abc import Sequence

import numpy as np

from mils_jax.errors import UserError, unknown


def class_weights(text: str, classes: Sequence[str], labels: np.ndarray, logits: int) -> tuple[float, ...]:
  """The weight of each logit's class; () where all weights are equal.

  Args:
    text: 'none'; 'balanced', N / (classes * examples of the class), so that the mean over the examples is 1; or
      'bare=3,water=0.5', with 1 for the other classes.
    classes: names of the first logits.
    labels: (N,) labels of the training split.
    logits: number of logits; those without a class name have weight 1.

  Raises:
    UserError: a name is no class, or a weight is not a number of at least 0.
  """
  if text == 'none':
    return ()
  weights = np.ones(logits)
  if text == 'balanced':
    counts = np.bincount(labels, minlength=logits)
    weights[counts > 0] = len(labels) / (np.count_nonzero(counts) * counts[counts > 0])
    return tuple(weights.tolist())
  classes, seen = list(classes[:logits]), set()
  for part in text.split(','):
    name, _, value = part.rpartition('=')
    if not name:
      raise unknown('value of train.class_weights', text, ['none', 'balanced', f'{classes[0]}=2.5,{classes[-1]}=0.5'])
    name = name.strip()
    if name not in classes:
      raise unknown('class in train.class_weights', name, classes)
    if name in seen:
      raise UserError(f"train.class_weights={text}: gives '{name}' twice")
    seen.add(name)
    try:
      weight = float(value)
    except ValueError:
      weight = -1.0
    if not 0 <= weight < float('inf'):
      raise UserError(f'train.class_weights: {part.strip()}: expected a number of at least 0')
    weights[classes.index(name)] = weight
  return tuple(weights.tolist())

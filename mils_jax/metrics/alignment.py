"""Aligns several models' predictions of the same examples, and refuses those of other examples."""

import hashlib

import numpy as np

from mils_jax.errors import UserError
from mils_jax.metrics import PairedDifference
from mils_jax.metrics.predictions import Predictions


def fingerprint(predictions: Predictions) -> str:
  """A hash of the example_ids, independent of their order."""
  names = '\n'.join(sorted(predictions.example_ids.tolist())).encode(errors='surrogateescape')  # need not be UTF-8
  return hashlib.blake2b(names, digest_size=8).hexdigest()


def aligned(predictions: dict[str, Predictions]) -> dict[str, Predictions]:
  """The predictions in a common order of the examples: by example_id, then by label.

  Args:
    predictions: the predictions by a name for messages.

  Raises:
    UserError: not all are of the same examples with the same labels.
  """
  ordered = {name: _ordered(one) for name, one in predictions.items()}
  marks = {name: fingerprint(one) for name, one in ordered.items()}
  first = next(iter(ordered), '')
  for name, one in ordered.items():
    if marks[name] != marks[first]:
      raise UserError(f'{first} and {name} were tested on different images: '
                      f'{_describe(ordered[first], marks[first])} and '
                      f'{_describe(one, marks[name])}. Only the same test images can be compared')
    if (one.labels != ordered[first].labels).any():
      row = int(np.argmax(one.labels != ordered[first].labels))
      raise UserError(f'{first} and {name} were tested on different labels: {one.example_ids[row]} is '
                      f'{ordered[first].labels[row]} there, {one.labels[row]} here')
  return ordered


def compare(first: Predictions, second: Predictions) -> PairedDifference:
  """The paired difference of two models' accuracies; raises UserError as `aligned` does."""
  one, other = aligned({'the first': first, 'the second': second}).values()
  return PairedDifference.of(one.correct, other.correct)


def _ordered(predictions: Predictions) -> Predictions:
  """Sorts predictions; equal example_ids are equal images, which have equal predictions."""
  order = np.lexsort((predictions.labels, predictions.example_ids))
  return Predictions(predictions.example_ids[order], predictions.labels[order], predictions.logits[order])


def _describe(predictions: Predictions, mark: str) -> str:
  return f'{len(predictions.labels)} images, fingerprint {mark}'

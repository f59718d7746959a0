import numpy as np
import pytest

from mils_jax.errors import UserError
from mils_jax.metrics.alignment import aligned, compare, fingerprint
from mils_jax.metrics.predictions import Predictions


def predictions(example_ids, labels, predicted):
  return Predictions(np.array(list(example_ids)), np.array(labels, np.int32), np.eye(3, dtype=np.float32)[predicted])


FIRST = predictions('abcd', [0, 1, 2, 0], [0, 1, 0, 1])
SECOND = predictions('dcba', [0, 2, 1, 0], [1, 2, 1, 0])  # wrong on d; the first on c and d


def test_examples_are_joined_by_identity_whatever_their_order():
  found = compare(FIRST, SECOND)
  assert (found.both, found.only_first, found.only_second, found.neither) == (2, 0, 1, 1)
  assert fingerprint(FIRST) == fingerprint(SECOND)


def test_an_image_that_is_there_twice_is_joined_with_its_own_label():
  first = predictions('aab', [1, 0, 2], [1, 1, 2])
  second = predictions('aba', [0, 2, 1], [1, 2, 1])
  ordered = aligned({'one': first, 'other': second})
  np.testing.assert_array_equal(ordered['one'].labels, ordered['other'].labels)
  assert compare(first, second).both == 2


@pytest.mark.parametrize(('other', 'message'), [
    (predictions('abce', [0, 1, 2, 0], [0] * 4), 'different images'),
    (predictions('abc', [0, 1, 2], [0] * 3), '4 images, fingerprint'),
    (predictions('abcd', [0, 1, 1, 0], [0] * 4), 'c is 2 there, 1 here'),
], ids=['others', 'fewer', 'labels'])
def test_other_test_images_are_refused(other, message):
  with pytest.raises(UserError, match=message):
    compare(FIRST, other)

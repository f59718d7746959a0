"""How much each class counts in the loss."""

import numpy as np
import pytest

from mils_jax.errors import UserError
from mils_jax.training.class_weights import class_weights

CLASSES = ('tree', 'bare', 'water')
LABELS = np.repeat([0, 1], [9, 3])  # of water there is none


def test_none_weighs_nothing():
  assert class_weights('none', CLASSES, LABELS, 5) == ()


def test_balanced_classes_weigh_the_same_and_the_mean_over_the_examples_is_1():
  weights = class_weights('balanced', CLASSES, LABELS, 5)
  np.testing.assert_allclose(weights, [12 / 18, 2.0, 1, 1, 1])
  assert np.mean(np.array(weights)[LABELS]) == pytest.approx(1)


def test_named_classes_have_their_weights_and_the_others_1():
  assert class_weights('water=0.5, bare=3', CLASSES, LABELS, 4) == (1, 3, 0.5, 1)


@pytest.mark.parametrize(('text', 'message'), [
    ('watr=2', "unknown class in train.class_weights 'watr'. Did you mean 'water'? Valid: tree, bare, water"),
    ('balance', "unknown value of train.class_weights 'balance'. Did you mean 'balanced'? Valid: none, balanced, "
                'tree=2.5,water=0.5'),
    ('tree=-1', 'train.class_weights: tree=-1: expected a number of at least 0'),
    ('tree=2,tree=3', "train.class_weights=tree=2,tree=3: gives 'tree' twice"),
    ('tree=much', 'train.class_weights: tree=much: expected a number of at least 0')])
def test_what_is_no_weight_is_refused(text, message):
  with pytest.raises(UserError) as error:
    class_weights(text, CLASSES, LABELS, 4)
  assert str(error.value) == message


def test_a_class_without_a_logit_has_no_weight():
  with pytest.raises(UserError, match=r"unknown class in train.class_weights 'water'\. Valid: tree, bare$"):
    class_weights('water=2', CLASSES, LABELS, 2)

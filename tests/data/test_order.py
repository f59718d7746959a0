import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.data.order import BalancedOrder, EvaluationOrder, TrainingOrder, steps_per_epoch

SIZES = (st.integers(1, 70), st.integers(1, 40))


@settings(max_examples=60, deadline=None)
@given(*SIZES, st.integers(0, 5), st.integers(0, 3))
def test_every_epoch_holds_every_example_once(examples, batch, seed, epoch):
  order = TrainingOrder(seed, examples, batch)
  assert order.steps_per_epoch == steps_per_epoch(examples, batch) == -(-examples // batch)
  seen = []
  for step in range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch):
    rows, mask = order(step)
    assert (rows.shape, rows.dtype, mask.dtype) == ((batch,), np.int32, np.float32)
    assert set(mask.tolist()) <= {0.0, 1.0}
    assert (rows[mask == 0] == rows[0]).all()
    seen += rows[mask == 1].tolist()
  assert sorted(seen) == list(range(examples))


@settings(max_examples=40, deadline=None)
@given(*SIZES, st.lists(st.integers(0, 30), max_size=8))
def test_a_step_is_the_same_whatever_was_asked_before(examples, batch, steps):
  order = TrainingOrder(7, examples, batch)
  for step in steps:
    for found, expected in zip(order(step), TrainingOrder(7, examples, batch)(step), strict=True):
      assert np.array_equal(found, expected)


def test_epochs_and_seeds_differ():
  rows = {(seed, step): tuple(TrainingOrder(seed, 100, 100)(step)[0]) for seed in (0, 1) for step in (0, 1)}
  assert len(set(rows.values())) == 4


def test_the_order_is_pinned_so_that_old_runs_can_be_resumed():
  assert TrainingOrder(0, 10, 5)(0)[0].tolist() == [8, 0, 3, 7, 6]
  assert TrainingOrder(0, 10, 5)(2)[0].tolist() == [1, 5, 6, 4, 8]  # of the second epoch
  assert TrainingOrder(3, 10, 5)(7)[0].tolist() == [4, 0, 8, 9, 7]


@settings(max_examples=40, deadline=None)
@given(*SIZES)
def test_evaluation_goes_through_all_examples_as_stored(examples, batch):
  order = EvaluationOrder(examples, batch)
  steps = [order(step) for step in range(order.steps_per_epoch)]
  assert np.concatenate([rows[mask == 1] for rows, mask in steps]).tolist() == list(range(examples))
  assert all(len(rows) == batch for rows, _ in steps)


LABELS = np.repeat([0, 1, 3], [70, 25, 5])  # of class 2 there is none


def test_a_balanced_epoch_has_as_many_of_each_class_and_repeats_small_ones_evenly():
  order = BalancedOrder(0, LABELS, 16)
  assert order.steps_per_epoch == 7
  rows = np.concatenate([rows[mask > 0] for rows, mask in map(order, range(7))])
  assert len(rows) == 100
  counts = np.bincount(LABELS[rows], minlength=4)
  assert counts[2] == 0
  assert counts[[0, 1, 3]].min() >= 32
  repeats = np.bincount(rows, minlength=100)
  assert repeats[:70].max() == 1
  assert set(repeats[95:]) <= {6, 7}


def test_balanced_steps_depend_on_seed_and_step_alone():
  def rows(seed, steps):
    order = BalancedOrder(seed, LABELS, 16)
    return [order(step)[0].tolist() for step in steps]

  assert rows(3, [9, 0, 9]) == [*rows(3, [9]), *rows(3, [0]), *rows(3, [9])]
  assert rows(3, [0, 1]) != rows(4, [0, 1])
  assert rows(3, [0]) != rows(3, [7])

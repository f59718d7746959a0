import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.data.sources.splits import EverySplit
from mils_jax.errors import UserError
from tests.data.fakes import MemorySource

SPLITS = ('train', 'val', 'test')


def source_of(labels, splits=('train',)):
  labels = np.asarray(labels, np.int32)
  images = np.arange(len(labels), dtype=np.int16).reshape(-1, 1, 1, 1)
  return MemorySource(dict.fromkeys(splits, images), dict.fromkeys(splits, labels),
                      classes=tuple('abcd'), channels=('c0',), units=('',))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(0, 3), st.sampled_from([0.1, 0.25, 0.4]),
       st.booleans())
def test_cut_splits_part_the_training_images_by_class(labels, seed, fraction, has_test):
  splits = ('train', 'test') if has_test else ('train',)
  cut = EverySplit(source_of(labels, splits), fraction, 0.2, seed)
  parts = SPLITS[:2] if has_test else SPLITS
  rows = np.concatenate([cut.rows[split] for split in parts])
  assert np.array_equal(np.sort(rows), np.arange(len(labels)))
  for label, count in enumerate(np.bincount(labels, minlength=4)):
    kept = (cut.labels('train') == label).sum()
    taken = (cut.labels('val') == label).sum()
    assert kept >= min(count, 1)
    assert abs(taken - fraction * count) <= 0.5 or kept == 1
  for split in parts:
    for index in range(cut.length(split)):
      image, label = cut.read(split, index)
      assert label == cut.labels(split)[index] == labels[image.item()]
      assert cut.example_id(split, index) == f'train/{image.item()}'
  if has_test:
    assert cut.length('test') == len(labels)
    assert cut.example_id('test', 0) == 'test/0'


def test_the_seed_decides_the_cut_and_is_part_of_the_settings():
  labels = np.arange(200) % 4
  first, again, other = (EverySplit(source_of(labels), 0.2, 0.2, seed) for seed in (0, 0, 1))
  assert all(np.array_equal(first.rows[split], again.rows[split]) for split in SPLITS)
  assert not np.array_equal(first.rows['val'], other.rows['val'])
  assert first.settings() == again.settings() != other.settings()


def test_a_complete_source_is_left_alone():
  source = source_of([0, 1], SPLITS)
  whole = EverySplit(source, 0.1, 0.1, 5)
  assert whole.settings() == source.settings()
  assert (whole.length('val'), whole.example_id('val', 1), whole.notes) == (2, 'val/1', ())


def test_a_note_tells_what_was_cut():
  assert '10% for val and 30% for test' in EverySplit(source_of([0] * 9), 0.1, 0.3, 0).notes[0]


@pytest.mark.parametrize(('val', 'test', 'named'), [(0, 0.1, 'val_fraction=0'), (0.1, 1.5, 'test_fraction=1.5'),
                                                    (0.6, 0.5, 'below 1')])
def test_fractions_out_of_range_are_named(val, test, named):
  with pytest.raises(UserError, match=named):
    EverySplit(source_of([0]), val, test, 0)


def test_training_cannot_be_missing():
  with pytest.raises(UserError, match='no training split, only test'):
    EverySplit(source_of([0], ('test',)), 0.1, 0.1, 0)


def test_the_cut_is_pinned_and_rounds_half_up():
  cut = EverySplit(source_of(np.repeat([0, 1, 2], [5, 15, 3])), 0.1, 0.1, 0)
  assert cut.rows['val'].tolist() == [4, 10, 18]  # a tenth of 5, 15 and 3: 1, 2 and 0
  assert cut.rows['test'].tolist() == [2, 6, 11]

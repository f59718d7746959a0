import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.data.sources import open_source
from mils_jax.data.sources.splits import EverySplit
from mils_jax.errors import UserError
from tests.data.fakes import MemorySource

SPLITS = ('train', 'val', 'test')


def source_of(labels, splits=('train',), groups=None):
  labels = np.asarray(labels, np.int32)
  images = np.arange(len(labels), dtype=np.int16).reshape(-1, 1, 1, 1)
  return MemorySource(dict.fromkeys(splits, images), dict.fromkeys(splits, labels),
                      classes=tuple('abcd'), channels=('c0',), units=('',),
                      given_groups={} if groups is None else dict.fromkeys(splits, np.asarray(groups)))


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


@pytest.mark.parametrize(('val', 'test', 'named'), [(-0.1, 0.1, 'val_fraction=-0.1'), (0.1, 1.5, 'test_fraction=1.5')])
def test_fractions_out_of_range_are_named(val, test, named):
  with pytest.raises(UserError, match=named):
    open_source('shapes', val_fraction=val, test_fraction=test)


def test_fractions_leave_something_to_train_on():
  with pytest.raises(UserError, match='below 1'):
    EverySplit(source_of([0]), 0.6, 0.5, 0)


def test_training_cannot_be_missing():
  with pytest.raises(UserError, match='no training split, only test'):
    EverySplit(source_of([0], ('test',)), 0.1, 0.1, 0)


def test_the_cut_is_pinned_and_rounds_half_up():
  cut = EverySplit(source_of(np.repeat([0, 1, 2], [5, 15, 3])), 0.1, 0.1, 0)
  assert cut.rows['val'].tolist() == [4, 10, 18]  # a tenth of 5, 15 and 3: 1, 2 and 0
  assert cut.rows['test'].tolist() == [2, 6, 11]


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(0, 3), st.booleans())
def test_no_group_is_in_two_splits_and_every_class_in_training(data, seed, has_val):
  groups = data.draw(st.lists(st.integers(0, 8), min_size=3, max_size=60))
  labels = data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups)))
  source = source_of(labels, groups=[f's{group}' for group in groups])
  if has_val:
    source.images['val'], source.given_labels['val'] = source.images['train'], source.given_labels['train']
  parts = ('train', 'test') if has_val else SPLITS
  of_label = [{group for group, own in zip(groups, labels, strict=True) if own == label} for label in set(labels)]
  try:
    cut = EverySplit(source, 0.1, 0.2, seed)
  except UserError:
    assert min(map(len, of_label)) < len(parts)  # with a group for each split of every class it can be done
    return
  of_split = {split: {groups[row] for row in cut.rows[split]} for split in parts}
  assert sum(map(len, of_split.values())) == len(set(groups))
  assert all(of_split.values())
  assert set(cut.labels('train').tolist()) == set(labels)
  assert np.array_equal(np.sort(np.concatenate([cut.rows[split] for split in parts])), np.arange(len(labels)))
  assert set(cut.groups('test').tolist()) == {f's{group}' for group in of_split['test']}


def test_groups_come_as_near_to_the_shares_of_every_class_as_they_can():
  groups = np.repeat(np.arange(50), 8)
  labels = np.tile(np.arange(8) % 4, 50)
  cut = EverySplit(source_of(labels, groups=groups), 0.1, 0.2, 0)
  for split, share in (('train', 0.7), ('val', 0.1), ('test', 0.2)):
    assert np.bincount(cut.labels(split)).tolist() == [round(share * 100)] * 4
  assert cut.notes[0] == ('splits: cut from training, 400 images of 50 groups: 40 images of 5 groups for val and '
                          '80 images of 10 groups for test')


def test_groups_and_the_seed_decide_the_cut_and_the_dataset_cache():
  labels = np.arange(200) % 4
  cuts = [EverySplit(source_of(labels, groups=np.arange(200) // size), 0.2, 0.2, seed)
          for size, seed in ((4, 0), (4, 0), (4, 1), (8, 0))]
  assert cuts[0].settings() == cuts[1].settings()
  assert len({cut.settings()['cut_rows'] for cut in cuts}) == 3
  assert 'cut_rows' not in EverySplit(source_of(labels), 0.2, 0.2, 0).settings()


@pytest.mark.parametrize('splits', [('train',), ('train', 'test'), SPLITS])
def test_each_splits_groups_are_read_once(splits, monkeypatch):
  read = []
  source = source_of([0, 1] * 6, splits, groups=[f's{number // 2}' for number in range(12)])
  groups = source.groups
  monkeypatch.setattr(source, 'groups', lambda split: read.append(split) or groups(split), raising=False)
  cut = EverySplit(source, 0.2, 0.2, 0)
  cut.settings(), cut.labels('train'), cut.groups('val')
  assert read == list(splits)


def test_groups_that_a_given_split_shares_with_training_are_noted():
  cut = EverySplit(source_of([0, 1, 0, 1], SPLITS, groups=list('abcd')), 0.1, 0.1, 0)
  assert [note.split(',')[0] for note in cut.notes] == [
      f'splits: 4 groups have images in training and in {split}' for split in ('val', 'test')]


@pytest.mark.parametrize('nothing', ['', 'nan'])
def test_images_without_a_group_are_named(nothing):
  with pytest.raises(UserError, match=r'2 images have no group, first train\[1\]; expected one for each'):
    EverySplit(source_of([0, 1, 0, 1], groups=['s', nothing, 't', nothing]), 0.1, 0.1, 0)


def test_groups_of_one_image_give_the_exact_shares():
  groups = np.arange(4000)
  cut = EverySplit(source_of(groups % 4, groups=groups), 0.1, 0.2, 0)
  assert [cut.length(split) for split in SPLITS] == [2800, 400, 800]

import itertools
import zlib

import numpy as np
import pytest

from mils_jax.data.sources import data_section, open_source
from mils_jax.data.sources.registry import set_name
from mils_jax.data.sources.shapes import CLASSES, COLOURS, SHAPES, ShapesSource, draw
from mils_jax.errors import UserError

PAIRS = list(itertools.combinations(range(4), 2))


@pytest.mark.parametrize(('first', 'second'), PAIRS)
def test_colours_of_one_level_give_that_channel_bit_for_bit_and_differ_in_another(first, second):
  levels = list(COLOURS.values())
  for shape in range(len(SHAPES)):
    one, other = draw((5, 0, shape), shape * 4 + first, 32), draw((5, 0, shape), shape * 4 + second, 32)
    for channel in range(3):
      same = levels[first][channel] == levels[second][channel]
      assert np.array_equal(one[..., channel], other[..., channel]) == same
    assert not np.array_equal(one, other)


def test_every_channel_alone_confuses_classes_and_any_two_tell_all_colours_apart():
  levels = np.array(list(COLOURS.values()))
  for channel in range(3):
    assert len(np.unique(levels[:, channel])) < len(levels)
  for channels in itertools.combinations(range(3), 2):
    assert len(np.unique(levels[:, channels], axis=0)) == len(levels)


def test_shapes_differ_for_the_same_key():
  drawn = [draw((1,), shape * len(COLOURS), 32) for shape in range(len(SHAPES))]
  assert all(np.abs(one.astype(int) - other).sum() > 0 for one, other in itertools.combinations(drawn, 2))


def test_images_are_a_function_of_seed_split_and_index():
  source = ShapesSource(num_train=40)
  image, label = source.read('train', 23)
  assert (image.shape, image.dtype, label) == ((32, 32, 3), np.uint8, 3)
  assert np.array_equal(image, ShapesSource(num_train=99).read('train', 23)[0])
  others = [source.read('test', 23), source.read('train', 3), ShapesSource(seed=1).read('train', 23)]
  assert all(not np.array_equal(image, other) for other, _ in others)


def test_example_ids_are_unique_and_do_not_depend_on_the_size():
  small, large = ShapesSource(size=32, num_train=50), ShapesSource(size=48, num_train=50)
  names = [small.example_id(split, index) for split in ('train', 'val') for index in range(50)]
  assert len(set(names)) == 100
  assert names == [large.example_id(split, index) for split in ('train', 'val') for index in range(50)]
  assert large.read('train', 0)[0].shape == (48, 48, 3)


def test_classes_are_balanced_and_labels_agree_with_reading():
  source = ShapesSource(num_train=60)
  labels = source.labels('train')
  assert np.array_equal(np.bincount(labels), np.full(len(CLASSES), 3))
  assert [source.read('train', index)[1] for index in range(60)] == labels.tolist()


def test_levels_are_seen_inside_the_shape():
  """The mean over many centred pixels of a high channel is far above that of a low one."""
  red = np.stack([draw((2, index), CLASSES.index('red square'), 16) for index in range(200)]).astype(float)
  assert red[..., 0].mean() > red[..., 1].mean() + 10
  assert abs(red[..., 1].mean() - red[..., 2].mean()) < 4


@pytest.mark.parametrize('options', [{'shapes': {'num_val': 0}}, {'seed': -1}, {'image_size': -2},
                                     {'channel_axis': 'middle'}])
def test_bad_settings_are_one_line_that_names_them(options):
  with pytest.raises(UserError) as raised:
    open_source('shapes', **options)
  assert str(next(iter(options))) in str(raised.value)
  assert '\n' not in str(raised.value)


def test_unknown_source_lists_the_valid_ones():
  with pytest.raises(UserError, match=r"unknown data.source 'shape'.* arrays, folder, shapes, tfds"):
    open_source('shape')


@pytest.mark.parametrize(('values', 'name'), [
    ({}, 'shapes'), ({'source': 'folder', 'path': '/home/me/photos'}, 'photos'),
    ({'source': 'tfds', 'path': '/home/me/sets', 'tfds': {'name': 'eurosat/all'}}, 'eurosat/all'),
])
def test_a_set_is_called_without_the_paths_of_a_machine(values, name):
  assert set_name(data_section().read(values)) == name


def test_the_drawing_is_pinned_as_its_version_is_part_of_the_fingerprint():
  source = ShapesSource()
  drawn = [zlib.crc32(source.read('train', index)[0].tobytes()) for index in range(0, len(CLASSES), len(COLOURS))]
  assert drawn == [345117284, 1654773653, 963677185, 3273198159, 571276068]
  assert zlib.crc32(source.read('val', 0)[0].tobytes()) == 806395322
  assert source.example_id('train', 0) == 'train:be453053e152138e6a98'
  assert source.settings() == {'source': 'shapes', 'version': 1, 'size': 32, 'seed': 0, 'num_train': 5000,
                               'num_val': 500, 'num_test': 1000}

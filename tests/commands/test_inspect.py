import numpy as np
import pytest
from PIL import Image

from mils_jax.commands.inspect import TILE, describe, warnings_of, write_sheets
from mils_jax.data.cache.building import open_dataset
from mils_jax.report.thumbnails import colour_channels
from tests.data.fakes import memory_source


def cells(lines):
  """Those of each row of the tables, by the row's name."""
  rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith('|')]
  return {first: others for first, *others in rows}


def test_counts_and_ranges(tmp_path):
  source = memory_source(train=301, shape=(3, 4, 5), dtype='int16')
  data = open_dataset(source, tmp_path)
  found = cells(describe(data))
  assert (found['0 a'], found['1 b']) == (['151', '3', '4'], ['150', '2', '3'])
  values = source.images['train'].astype(np.float64)
  for channel in range(5):
    numbers = values[..., channel]
    expected = [numbers.min(), numbers.max(), numbers.mean(), numbers.std()]
    np.testing.assert_allclose([float(cell) for cell in found[f'c{channel}'][:4]], expected, rtol=1e-5)
  assert warnings_of(data) == []


def test_every_warning(tmp_path):
  source = memory_source(train=15, dtype='float32')
  source.images['train'][..., 2] = 5
  source.images['train'][4, 0, 0, 0] = np.nan
  source.images['test'][1] = source.images['train'][7]
  source.images['test'][2] = source.images['val'][0]
  data = open_dataset(source, tmp_path)
  found = cells(describe(data))
  assert found['c2'][:4] == ['5', '5', '5', '0']
  assert np.isfinite([float(cell) for cell in found['c0'][:4]]).all()
  assert warnings_of(data) == [
      'channel c2 is constant (5) over the training split',
      'train: 1 value of channel c0 is non-finite, first in train[4]',
      '2 classes have under 10 training images: a (8), b (7)',
      '1 image of test is in train too, first test/1 (as train/7)',
      '1 image of test is in val too, first test/2 (as val/0)',
  ]


def test_a_dataset_without_val_and_test_is_inspected_too(tmp_path):
  source = memory_source(train=30)
  for split in ('val', 'test'):
    del source.images[split], source.given_labels[split]
  assert warnings_of(open_dataset(source, tmp_path)) == []


def test_black_and_white_images_are_not_suspicious(tmp_path):
  source = memory_source(train=30)
  source.images = {split: images // 128 * np.uint8(255) for split, images in source.images.items()}
  assert not any('nodata' in warning for warning in warnings_of(open_dataset(source, tmp_path)))


def test_lines_and_sheets(tmp_path):
  source = memory_source(train=30, shape=(8, 6, 4))
  source.classes = ('tall trees/pines', 'water')
  data = open_dataset(source, tmp_path / 'cache')
  lines, folder = describe(data), write_sheets(data, tmp_path / 'report')
  assert lines[0] == 'train 30, val 5, test 7 images of 8 x 6, 4 channels of uint8'
  rows = cells(lines)
  assert rows['1 water'] == ['15', '2', '3']
  assert [name for name in rows if name.startswith('c')] == ['class', 'channel', 'c0', 'c1', 'c2', 'c3']
  assert lines[-1] == 'no warnings'
  assert folder == tmp_path / 'report/sheets'
  sheets = sorted(folder.iterdir())
  assert [path.name for path in sheets] == ['0-tall_trees_pines.png', '1-water.png']
  with Image.open(sheets[0]) as sheet:
    width, height = sheet.size
  assert width >= 5 * TILE  # four channels in grey, and three as colours
  assert height >= 6 * TILE


def test_a_sheet_shows_each_channel_in_grey_and_the_chosen_as_colours(tmp_path):
  source = memory_source(train=20, shape=(96, 96, 3))
  for channel, level in enumerate((0, 128, 255)):
    source.images['train'][::2, ..., channel] = level
  source.channels = ('B', 'R', 'G')
  data = open_dataset(source, tmp_path / 'cache')
  write_sheets(data, tmp_path)
  with Image.open(tmp_path / 'sheets/0-a.png') as sheet:
    tiles = [sheet.getpixel((54 + 100 * column, 60)) for column in range(4)]
  assert tiles[0][0] < tiles[1][0] < tiles[2][0]
  assert all(len(set(tile)) == 1 for tile in tiles[:3])
  assert tiles[3] == (tiles[1][0], tiles[2][0], tiles[0][0])


@pytest.mark.parametrize(('channels', 'expected'), [
    (('blue', 'green', 'red', 'nir'), (2, 1, 0)), (('x', 'B', 'G', 'R'), (3, 2, 1)),
    (('c0', 'c1', 'c2', 'c3'), (0, 1, 2)), (('vv', 'vh'), None)])
def test_colours_go_by_name(channels, expected):
  assert colour_channels(channels) == expected


def test_non_finite_values_are_drawn(tmp_path):
  source = memory_source(dtype='float32')
  source.images['train'][0] = np.nan
  data = open_dataset(source, tmp_path / 'cache')
  write_sheets(data, tmp_path)
  assert 'warning: train: 20 values of channel c0 are non-finite, first in train[0]' in describe(data)


def test_a_value_that_may_stand_for_no_data_is_warned_of_by_tag_or_not(tmp_path):
  source = memory_source(train=30, dtype='int16')
  source.images['train'] = source.images['train'] % 3000
  source.images['train'][::4, 0, 0, 1] = -9999
  source.images['train'][::4, 0, 0, 2] = 20_000
  data = open_dataset(source, tmp_path)
  assert [warning for warning in warnings_of(data) if 'data.nodata' in warning] == [
      'channel c1: the value -9999 lies apart from all others (1 to 2998) and may stand for pixels without data; '
      'data.nodata=-9999 leaves them out',
      'channel c2: the value 20000 lies apart from all others (0 to 2998) and may stand for pixels without data; '
      'data.nodata=20000 leaves them out']

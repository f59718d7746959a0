import numpy as np
import pytest
from PIL import Image

from mils_jax.data.cache.building import open_dataset
from mils_jax.data.inspection import inspect
from mils_jax.report.inspection import TILE, colour_channels, write_inspection
from tests.data.fakes import memory_source


def test_lines_and_sheets(tmp_path):
  source = memory_source(train=30, shape=(8, 6, 4))
  source.classes = ('tall trees/pines', 'water')
  packed = open_dataset(source, tmp_path / 'cache')
  lines = write_inspection(inspect(packed), packed, tmp_path / 'report')
  assert lines[0] == 'train 30, val 5, test 7 images of 8 x 6, 4 channels of uint8'
  assert ['1', 'water', '15', '2', '3'] in [line.split() for line in lines]
  assert [line.split()[0] for line in lines if line.startswith('c')] == ['class', 'channel', 'c0', 'c1', 'c2', 'c3']
  assert lines[-2] == 'no warnings'
  sheets = sorted((tmp_path / 'report/sheets').iterdir())
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
  packed = open_dataset(source, tmp_path / 'cache')
  write_inspection(inspect(packed), packed, tmp_path)
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


def test_values_that_are_not_finite_are_drawn(tmp_path):
  source = memory_source(dtype='float32')
  source.images['train'][0] = np.nan
  packed = open_dataset(source, tmp_path / 'cache', allow_nonfinite=True)
  lines = write_inspection(inspect(packed), packed, tmp_path)
  assert 'warning: train: 60 values are non-finite, first in train[0]' in lines

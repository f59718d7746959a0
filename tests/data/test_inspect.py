import numpy as np

from mils_jax.data.cache.building import open_dataset
from mils_jax.data.inspection import inspect
from tests.data.fakes import memory_source


def test_counts_and_ranges(tmp_path):
  source = memory_source(train=301, shape=(3, 4, 5), dtype='int16')
  found = inspect(open_dataset(source, tmp_path))
  assert {split: counts.tolist() for split, counts in found.counts.items()} == {
      'train': [151, 150], 'val': [3, 2], 'test': [4, 3]}
  values = source.images['train'].astype(np.float64)
  for channel, one in enumerate(found.channels):
    numbers = values[..., channel]
    assert (one.name, one.minimum, one.maximum) == (f'c{channel}', numbers.min(), numbers.max())
    np.testing.assert_allclose([one.mean, one.std], [numbers.mean(), numbers.std()], rtol=1e-9)
  assert found.warnings == ()


def test_every_warning(tmp_path):
  source = memory_source(train=15, dtype='float32')
  source.images['train'][..., 2] = 5
  source.images['train'][4, 0, 0, 0] = np.nan
  source.images['test'][1] = source.images['train'][7]
  source.images['test'][2] = source.images['val'][0]
  found = inspect(open_dataset(source, tmp_path, allow_nonfinite=True))
  assert found.channels[2].minimum == found.channels[2].maximum == 5
  assert np.isfinite([found.channels[0].minimum, found.channels[0].mean]).all()
  assert found.warnings == (
      'channel c2 is constant (5) over the training split',
      'train: 1 values are non-finite, first in train[4]',
      '2 classes have under 10 training images: a (8), b (7)',
      '1 images of test are in train too, first test/1 (as train/7)',
      '1 images of test are in val too, first test/2 (as val/0)',
  )

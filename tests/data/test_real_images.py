import tarfile

import numpy as np
import pytest
from PIL import Image

from mils_jax.data.cache.building import open_dataset
from mils_jax.data.sources import open_source


@pytest.fixture(scope='module')
def images(real_data, tmp_path_factory):
  """Mini-ImageNet, extracted."""
  if not (real_data / 'mini-imagenet.tar').exists():
    pytest.skip('MILS_TEST_DATA has no mini-imagenet.tar')
  folder = tmp_path_factory.mktemp('images')
  with tarfile.open(real_data / 'mini-imagenet.tar') as archive:
    archive.extractall(folder, filter='data')
  return folder / 'mini-imagenet'


def test_the_cache_of_mini_imagenet_holds_the_pixels_of_its_files(images, tmp_path):
  dataset = open_dataset(open_source('folder', path=str(images)), tmp_path)
  assert {split: len(dataset.splits[split]) for split in dataset.splits} == {'train': 12000, 'val': 1000, 'test': 2000}
  assert len(dataset.classes) == 100
  assert dataset.classes[1] == 'n01558993 robin, American robin, Turdus migratorius'
  for split, count in (('train', 120), ('val', 10), ('test', 20)):
    assert np.array_equal(np.bincount(dataset.splits[split].labels), np.full(100, count))
    for row in range(0, len(dataset.splits[split]), 97):
      with Image.open(images / str(dataset.splits[split].example_ids[row])) as image:
        assert np.array_equal(np.asarray(image), dataset.splits[split].images[row])
  assert ((dataset.mean > 90) & (dataset.mean < 135)).all()

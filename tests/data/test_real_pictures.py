import tarfile

import numpy as np
import pytest
from PIL import Image

from mils_jax.data.packing import open_packed
from mils_jax.data.sources import open_source


@pytest.fixture(scope='module')
def pictures(real_data, tmp_path_factory):
  """Mini-ImageNet, unpacked."""
  if not (real_data / 'mini-imagenet.tar').exists():
    pytest.skip('MILS_TEST_DATA has no mini-imagenet.tar')
  folder = tmp_path_factory.mktemp('pictures')
  with tarfile.open(real_data / 'mini-imagenet.tar') as archive:
    archive.extractall(folder, filter='data')
  return folder / 'mini-imagenet'


def test_mini_imagenet_packs_to_the_pixels_of_its_files(pictures, tmp_path):
  packed = open_packed(open_source('folder', path=str(pictures)), tmp_path)
  assert {split: len(packed.splits[split]) for split in packed.splits} == {'train': 12000, 'val': 1000, 'test': 2000}
  assert len(packed.classes) == 100
  assert packed.classes[1] == 'n01558993 robin, American robin, Turdus migratorius'
  for split, count in (('train', 120), ('val', 10), ('test', 20)):
    assert np.array_equal(np.bincount(packed.splits[split].labels), np.full(100, count))
    for row in range(0, len(packed.splits[split]), 97):
      with Image.open(pictures / str(packed.splits[split].identities[row])) as picture:
        assert np.array_equal(np.asarray(picture), packed.splits[split].images[row])
  assert ((packed.mean > 90) & (packed.mean < 135)).all()

import shutil

import jax
import numpy as np
import pytest

from mils_jax.errors import RunError
from mils_jax.export.compare import BATCHES, compare, open_images, subsets_of
from mils_jax.export.function import ExportedModel
from mils_jax.restore import restore
from mils_jax.run_config import saved_config
from mils_jax.training.run_folder import RunFolder


@pytest.fixture(scope='module')
def run(small_runs):
  return RunFolder(small_runs['wide_cnn'])


@pytest.fixture(scope='module')
def model(run):
  return ExportedModel(restore(run))


@pytest.fixture(scope='module')
def images(run, model):
  return open_images(model, saved_config(run))


@pytest.fixture(scope='module')
def function(model):
  return jax.jit(model.function())


def test_the_same_function_agrees_at_every_batch_size_and_subset(model, images, function):
  asked = []

  def exported(images, present):
    asked.append((len(images), tuple(present.all(axis=0))))
    assert np.isnan(images[..., ~present[0]]).all()  # what stands in a missing channel must not count
    return np.asarray(function(images, present))

  found = compare(model, exported, images)
  masks = ((True, True, True), (True, False, False), (False, True, True))
  assert asked == [(batch, mask) for mask in masks for batch in BATCHES]
  assert found.subsets == (('R', 'G', 'B'), ('R',), ('G', 'B'))
  assert found.relative < 1e-5
  assert found.to_json()['images'] == '5 test images'
  assert 'on 5 test images, in batches of 1, 2, 5, with channels R, G, B; R; G, B' in str(found)


@pytest.mark.parametrize('wrong', [
    lambda logits, images: logits * np.float32(1.001),
    lambda logits, images: np.full_like(logits, np.nan),
    lambda logits, images: logits[::-1],
    lambda logits, images: logits + np.float32(len(images) == 5),
], ids=['scaled', 'NaN', 'rows of others', 'one batch size'])
def test_what_answers_otherwise_is_refused(model, images, function, wrong):
  with pytest.raises(RunError, match='the export does not compute what the model does: largest difference'):
    compare(model, lambda images, present: wrong(np.asarray(function(images, present)), images), images)


def test_without_the_data_values_are_drawn_by_its_statistics_and_that_is_reported(run, tmp_path):
  folder = RunFolder(shutil.copytree(run.path, tmp_path / 'run'))
  config = saved_config(folder)
  gone = type(config.data)(**{**vars(config.data), 'source': 'folder', 'path': str(tmp_path / 'gone')})
  model = ExportedModel(restore(folder))
  images = open_images(model, type(config)(**{**vars(config), 'data': gone}))
  assert images.origin.startswith("values drawn by the channels' mean and std, since the run's own data was not there")
  spec = model.restored.spec.channels
  np.testing.assert_allclose(images.images.mean(axis=(0, 1, 2)), spec.mean, rtol=0.1)
  np.testing.assert_allclose(images.images.std(axis=(0, 1, 2)), spec.std, rtol=0.1)


def test_subsets():
  assert subsets_of(('a',)) == (('a',),)
  assert subsets_of(('a', 'b')) == (('a', 'b'), ('a',), ('b',))

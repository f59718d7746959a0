import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export
from scipy.special import softmax

import mils_jax
from mils_jax.classifier import Classifier
from mils_jax.export.function import ExportedModel
from mils_jax.restore import restore
from mils_jax.training.run_folder import RunFolder
from tests.export.models import NARROW, drawn_model

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
ALL = np.ones((2, 3), bool)


@pytest.fixture(scope='module')
def restored(small_runs):
  return restore(RunFolder(small_runs['wide_cnn']))


@pytest.fixture(scope='module')
def function(restored):
  return jax.jit(ExportedModel(restored).function())


def test_its_softmax_equals_the_loaded_runs_for_the_named_classes(function, small_runs):
  classifier = mils_jax.load(small_runs['wide_cnn'])  # of 23 logits, 20 have names
  np.testing.assert_allclose(softmax(function(IMAGES, ALL), axis=1), classifier(IMAGES), rtol=1e-4, atol=1e-6)
  spoilt, without_green = IMAGES.copy(), ALL & [True, False, True]
  spoilt[..., 1] = np.nan
  np.testing.assert_allclose(softmax(function(spoilt, without_green), axis=1), classifier(IMAGES[..., [0, 2]], 'RB'),
                             rtol=1e-4, atol=1e-6)


def test_a_channel_that_training_never_had_is_always_missing(restored, function):
  fewer = dataclasses.replace(restored, spec=dataclasses.replace(restored.spec, trained=('R', 'B')))
  found = jax.jit(ExportedModel(fewer).function())(IMAGES, ALL)
  np.testing.assert_array_equal(found, function(IMAGES, ALL & [True, False, True]))
  assert not np.allclose(found, function(IMAGES, ALL))


@pytest.mark.parametrize(('setting', 'value'), [('-9999', -9999.0), ('nan', np.nan), ('0', 0.0), ('-inf', -np.inf)])
def test_pixels_without_data_are_filled_as_the_loaded_run_fills_them(restored, setting, value):
  config = dataclasses.replace(restored.config, data=dataclasses.replace(restored.config.data, nodata=setting))
  changed = dataclasses.replace(restored, config=config)
  images = IMAGES.copy()
  images[0, 3:7, 4:9, 1] = value
  images[1, ..., 2] = value  # a whole channel, which then is missing
  found = jax.jit(ExportedModel(changed).function())(images, ALL)
  expected = Classifier(changed, Path())(images)
  np.testing.assert_allclose(softmax(found, axis=1), expected, rtol=1e-4, atol=1e-6)
  assert not np.allclose(found[0], jax.jit(ExportedModel(restored).function())(images, ALL)[0])


def test_it_is_made_of_plain_convolutions_in_float32(small_runs):
  model = ExportedModel(restore(RunFolder(small_runs['dynamic_resnet12'])))
  assert (model.network.implementation, model.network.mix, model.network.dtype) == ('lax', 'outputs', np.float32)
  assert model.as_trained.implementation == 'cpu'
  assert model.image_shape == (16, 16, 3)


@pytest.mark.parametrize('network', NARROW)
def test_the_batch_may_be_of_any_size(network):
  model = drawn_model(network, {'imputation': 'mlp', 'rescale': True, 'conditioning': 'statistics'})
  (batch,) = export.symbolic_shape('batch')
  images = jax.ShapeDtypeStruct((batch, *model.image_shape), np.float32)
  logits = jax.eval_shape(model.function(), images, jax.ShapeDtypeStruct((batch, model.image_shape[-1]), np.bool_))
  assert logits.shape == (batch, 6)

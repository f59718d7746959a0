"""A trained model on data that is not its own."""

import dataclasses
import shutil

import numpy as np
import pytest

from mils_jax import build
from mils_jax.commands.evaluate import run_evaluation
from mils_jax.errors import UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.report.write import write_evaluation
from mils_jax.restore import open_fitting_data, restore
from mils_jax.run_config import saved_config
from mils_jax.subsets import evaluate_subsets
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.run_folder import RunFolder


@pytest.fixture
def run(small_runs):
  folder = RunFolder(small_runs['wide_cnn'])
  return saved_config(folder), folder


@pytest.fixture
def with_infrared(run, tmp_path):
  """The run's configuration on its own test images with one channel more, whose values are absurd."""
  config, folder = run
  data = build.open_data(config)
  test = data.splits['test']
  images = np.concatenate([np.full((*test.images.shape[:3], 1), 255, np.uint8), test.images], axis=-1)
  arrays = {f'{split}_{what}': value for split in ('train', 'val', 'test')
            for what, value in (('images', images), ('labels', test.labels))}
  np.savez(tmp_path / 'infrared.npz', **arrays, channels=['nir', 'R', 'G', 'B'], classes=data.classes)
  data = dataclasses.replace(config.data, source='arrays', path=str(tmp_path / 'infrared.npz'))
  return dataclasses.replace(config, data=data), folder


def test_a_channel_that_the_model_was_not_trained_with_is_left_out_and_named(with_infrared, capsys):
  config, folder = with_infrared
  found = run_evaluation(config, folder)
  assert 'not trained with are left out: nir' in capsys.readouterr().out
  assert found.results['channels'] == ['R', 'G', 'B']
  np.testing.assert_allclose(found.predictions.logits, Predictions.load(folder.predictions).logits, atol=1e-5)


def test_other_data_is_resized_to_the_models_images_where_no_size_is_given(with_infrared, capsys):
  config, folder = with_infrared
  with np.load(config.data.path) as saved:
    arrays = dict(saved)
  height = arrays['test_images'].shape[1]
  for name in ('train_images', 'val_images', 'test_images'):
    arrays[name] = arrays[name].repeat(2, axis=1).repeat(2, axis=2)
  np.savez(config.data.path, **arrays)
  found = run_evaluation(dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=0)), folder)
  assert f'images are resized where their size is not that of the model, {height}x{height}' in capsys.readouterr().out
  assert found.results['image_shape'][0] == height
  sized = run_evaluation(dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=height)), folder)
  np.testing.assert_allclose(found.predictions.logits, sized.predictions.logits, atol=1e-5)


def test_a_normalization_that_the_model_does_not_have_is_said_to_be_unused(run, capsys):
  config, folder = run
  data = dataclasses.replace(config.data, normalization='imagenet')
  found = run_evaluation(dataclasses.replace(config, data=data), folder)
  assert 'data.normalization=imagenet is not used: the model normalizes as in its training' in capsys.readouterr().out
  np.testing.assert_array_equal(found.predictions.logits, run_evaluation(config, folder).predictions.logits)


def test_a_best_epoch_that_a_training_replaces_meanwhile_is_read_anew(small_runs, tmp_path, monkeypatch):
  folder = RunFolder(shutil.copytree(small_runs['wide_cnn'], tmp_path / 'run'))
  built, first = build.build_model, restore(folder).step

  def better_meanwhile(*arguments):
    monkeypatch.setattr(build, 'build_model', built)
    with Checkpoints(folder.checkpoints) as checkpoints:
      best = checkpoints.restore_best(checkpoints.best_structure())
      assert checkpoints.save_best(first + 1, best, checkpoints.restore_spec(), (2.0, 0.0)) == first + 1
    return built(*arguments)

  monkeypatch.setattr(build, 'build_model', better_meanwhile)
  assert restore(folder).step == first + 1


def test_subsets_of_other_data_would_pass_for_the_runs_own_and_are_refused(with_infrared):
  before = sorted(path.name for path in with_infrared[1].path.iterdir())
  with pytest.raises(UserError, match=r'not the data that the run was trained on.*mils-jax evaluate'):
    evaluate_subsets(with_infrared[1], config=with_infrared[0])
  assert sorted(path.name for path in with_infrared[1].path.iterdir()) == before


def test_channels_that_are_called_otherwise_are_the_models(with_infrared):
  config, folder = with_infrared
  found = run_evaluation(dataclasses.replace(config, data=dataclasses.replace(config.data,
                                                                              channel_names='NIR,Red,green,b')), folder)
  assert found.results['channels'] == ['R', 'G', 'B']
  np.testing.assert_allclose(found.predictions.logits, Predictions.load(folder.predictions).logits, atol=1e-5)


def test_labels_of_other_data_are_taken_by_the_names_of_their_classes(with_infrared, capsys):
  config, folder = with_infrared
  with np.load(config.data.path) as saved:
    arrays = dict(saved)
  own = Predictions.load(folder.predictions)
  first = arrays['classes'][:12]
  few = own.labels < len(first)
  arrays = {name: 11 - value[few] if name.endswith('labels') else value[few] if name.endswith('images') else value
            for name, value in arrays.items()}
  np.savez(config.data.path, **{**arrays, 'classes': first[::-1]})
  found = run_evaluation(config, folder)
  assert 'labels are matched by class name' in capsys.readouterr().out
  np.testing.assert_array_equal(found.predictions.labels, own.labels[few])
  np.testing.assert_allclose(found.predictions.logits, own.logits[few], atol=1e-5)
  assert found.results['classes'] == list(restore(folder).spec.classes)

  np.savez(config.data.path, **{**arrays, 'classes': [*first[:11], 'teapot']})
  with pytest.raises(UserError, match=r'classes that the model was not trained on: teapot. Valid: red disc'):
    run_evaluation(config, folder)


def test_all_images_of_another_set_are_tested_and_of_its_own_none(with_infrared, run, tmp_path):
  config, folder = with_infrared
  own = Predictions.load(folder.predictions)
  with np.load(config.data.path) as saved:
    alone = {'images': saved['test_images'], 'labels': saved['test_labels'], 'channels': saved['channels'],
             'classes': saved['classes']}
  np.savez(tmp_path / 'alone.npz', **alone)
  data = dataclasses.replace(config.data, path=str(tmp_path / 'alone.npz'))
  found = run_evaluation(dataclasses.replace(config, data=data), folder, 'all', str(tmp_path / 'found'))
  assert len(found.predictions.labels) == len(own.labels)
  assert found.predictions.accuracy == own.accuracy
  for label in np.unique(own.labels):
    mine, theirs = (np.sort(one.logits[one.labels == label], axis=0) for one in (found.predictions, own))
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
  found.save()
  page = write_evaluation(folder, found.config.values(), found.results, 'all', found.predictions, found.path)
  assert f'on the {len(own.labels)} images of all splits' in page.read_text()
  with pytest.raises(UserError, match=r'the run was trained on most of this dataset. Valid.*train, val, test'):
    run_evaluation(*run, 'all')
  drawn_otherwise = dataclasses.replace(run[0], data=dataclasses.replace(run[0].data, seed=1))
  shapes = run[0].data.shapes
  assert len(run_evaluation(drawn_otherwise, folder, 'all').predictions.labels) == (
      shapes.num_train + shapes.num_val + shapes.num_test)
  none = dataclasses.replace(config, data=dataclasses.replace(data, test_fraction=0.0, val_fraction=0.5))
  with pytest.raises(UserError, match=r"unknown --split 'test'.*Valid: train, val, all"):
    run_evaluation(none, folder)
  with pytest.raises(UserError, match=r'data.test_fraction=0: training needs a test split'):
    build.build_plan(none, RunFolder(tmp_path / 'new'))


def test_data_that_shares_no_trained_channel_is_refused(with_infrared):
  config, folder = with_infrared
  restored = restore(folder, config)
  config = dataclasses.replace(config, data=dataclasses.replace(config.data, channel_names='nir,swir,cyan,ir'))
  with pytest.raises(UserError, match=r'channels nir, swir, cyan, ir, the model was trained with R, G, B: none fits'):
    open_fitting_data(restored, config)


def test_the_temperature_is_that_of_the_last_step_before_the_checkpoint(small_runs):
  restored = restore(RunFolder(small_runs['dynamic_resnet12']))
  assert (restored.step, restored.model.temperature) == (5, 0.5)
  assert restored.variables['schedules']['temperature'] == pytest.approx(30 - 29.5 * 4 / 10)


def test_own_data_fits_whole(run):
  config, folder = run
  fitting = open_fitting_data(restore(folder), config, only_own=True)
  assert (fitting.own, fitting.channels, fitting.mapping.source.tolist()) == (True, ('R', 'G', 'B'), [0, 1, 2])


def test_what_was_found_of_an_earlier_best_epoch_is_forgotten(tmp_path):
  for name in ('subsets.json', 'subsets.npz', 'subset_predictions.npz', 'diagnostics.json', 'predictions.npz'):
    (tmp_path / name).touch()
  RunFolder(tmp_path).forget_findings()
  assert [path.name for path in tmp_path.iterdir()] == ['predictions.npz']

import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mils_jax
from mils_jax.cli import main
from mils_jax.commands.export import run_export
from mils_jax.errors import RunError
from mils_jax.export import hub
from mils_jax.export.function import ExportedModel
from mils_jax.export.sidecar import write_sidecar
from mils_jax.restore import restore
from mils_jax.run_config import RunConfig, saved_config
from mils_jax.training.run_folder import RunFolder, read_json


def test_it_is_loaded_bit_for_bit(hub_folder, small_runs):
  run = small_runs['dynamic_resnet12']
  images = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3), np.uint8)
  loaded, original = mils_jax.load(hub_folder), mils_jax.load(run)
  assert (loaded(images) == original(images)).all()
  assert (loaded(images[..., :2], 'GB') == original(images[..., :2], 'GB')).all()
  assert (loaded.classes, loaded.channels, loaded.trained) == (original.classes, original.channels, original.trained)
  jax.tree.map(np.testing.assert_array_equal, hub.restore_folder(hub_folder).variables,
               restore(RunFolder(run)).variables)


def test_no_path_of_this_machine_leaves_it(hub_folder, small_runs):
  config = saved_config(RunFolder(small_runs['dynamic_resnet12']))
  assert config.runtime.cache
  assert read_json(hub_folder / 'config.json')['runtime']['cache'] == 'cache'
  assert all(str(config.runtime.cache) not in path.read_text() for path in hub_folder.iterdir()
             if path.suffix != '.safetensors')
  assert RunConfig.from_file(read_json(hub_folder / 'config.json')).model == config.model


def test_every_file_may_be_read_by_others(hub_folder):
  assert all(path.stat().st_mode & 0o444 == 0o444 for path in hub_folder.iterdir())


@pytest.mark.parametrize('words', [['evaluate'], ['train'], ['export', '--format=hub'], ['cost']])
def test_it_is_no_run_folder(hub_folder, words, capsys):
  before = sorted(hub_folder.iterdir())
  assert main(['mils-jax', words[0], str(hub_folder), *words[1:]]) == 2
  error = capsys.readouterr().err
  assert 'is an export of a run, no run folder; mils_jax.load takes one of the format hub' in error
  assert error.count('\n') == 1
  assert sorted(hub_folder.iterdir()) == before


def test_weights_of_another_network_are_named(hub_folder, small_runs, tmp_path):
  folder = tmp_path / 'copy'
  folder.mkdir()
  shutil.copy(hub_folder / 'config.json', folder)
  arrays = load_file(hub_folder / 'model.safetensors')
  arrays['params/stem_conv/kernels'] = arrays['params/stem_conv/kernels'][:1]
  save_file(arrays, folder / 'model.safetensors')
  write_sidecar(folder, ExportedModel(restore(RunFolder(small_runs['dynamic_resnet12']))), 'hub', (), {})
  with pytest.raises(RunError, match=r'params/stem_conv/kernels is \(1, 3, 3, 3, 8\), expected \(2, 3, 3, 3, 8\)'):
    mils_jax.load(folder)


@pytest.mark.slow
def test_more_logits_than_named_classes_are_exported_too(small_runs, tmp_path):
  folder = RunFolder(small_runs['wide_cnn'])
  target, _ = run_export(saved_config(folder), folder, 'hub', str(tmp_path / 'hub'))
  images = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), np.uint8)
  assert (mils_jax.load(target)(images) == mils_jax.load(folder.path)(images)).all()

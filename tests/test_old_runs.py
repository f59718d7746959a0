"""A run folder that an older version left is used like any other: it resumes, evaluates, predicts and reports."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

import mils_jax
from mils_jax import build, schema
from mils_jax.cli import main
from mils_jax.errors import UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.run_config import saved_config
from mils_jax.subsets import read_subset_correct
from mils_jax.training.run_folder import RunFolder

OLD = Path(__file__).parent / 'old_runs' / '9644d6b.tar.gz'  # two epochs of a tiny generalist, schema 1


@pytest.fixture
def old(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  with tarfile.open(OLD) as archive:
    archive.extractall(tmp_path, filter='data')
  return tmp_path / 'tiny'


def test_its_configuration_means_what_it_meant(old):
  config = saved_config(RunFolder(old))
  assert schema.KEY not in json.loads((old / 'config.json').read_text())
  assert (config.channel_dropout.method, config.model.imputation, config.model.num_kernels) == (
      'hierarchical', 'learned', 2)
  assert (config.data.shapes.num_train, config.data.image_size, config.augment.rot90) == (60, 8, True)
  assert (config.model.mix, config.runtime.data_placement, config.model.widths) == ('auto', 'auto', (8,))


def test_a_field_that_is_gone_is_left_out_where_it_changed_nothing_and_named_where_it_did(small_runs):
  values = json.loads((small_runs['wide_cnn'] / 'config.json').read_text())
  today = schema.upgraded_config(values)
  assert schema.upgraded_config({**values, 'channel_dropout': {**values['channel_dropout'], 'start': 0.0}}) == today
  with pytest.raises(UserError, match=r'channel_dropout.start is gone.*the version that made it'):
    schema.upgraded_config({**values, 'channel_dropout': {**values['channel_dropout'], 'start': 0.5}})


def test_a_configuration_of_a_later_schema_is_refused_as_such():
  with pytest.raises(UserError, match=f'has schema {schema.VERSION + 1}, this version of mils-jax knows'):
    schema.upgraded_config({'schema': schema.VERSION + 1, 'later': {'option': 1}})


def test_predictions_of_subsets_that_were_written_as_words_are_read_as_channels(tmp_path):
  ids, labels = np.array(['a', 'b', 'c']), np.array([0, 1, 1], np.int32)
  folder = RunFolder(tmp_path)
  np.savez(tmp_path / 'subset_predictions.npz', identity=ids, label=labels, subset=np.array(['G,B', 'R,G', 'B']),
           predicted=np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0]]))
  found = read_subset_correct(folder, Predictions(ids, labels, np.zeros((3, 2), np.float32)))
  assert {subset: correct.tolist() for subset, correct in found.items()} == {
      ('G', 'B'): [True, False, True], ('R', 'G'): [False, True, True], ('B',): [True, False, False]}


def test_a_field_that_came_later_has_its_default(old):
  values = json.loads((old / 'config.json').read_text())
  del values['train']['label_smoothing'], values['attention'], values['augment']['rot90' if 'rot90' in values['augment']
                                                                              else 'quarter_turns']
  (old / 'config.json').write_text(json.dumps(values))
  config = saved_config(RunFolder(old))
  assert (config.train.label_smoothing, config.attention.annealing, config.augment.rot90) == (0.1, 'constant', False)


def test_it_evaluates_to_its_own_result(old, capsys):
  results = json.loads((old / 'results.json').read_text())
  assert main(['main.py', '--mode', 'evaluate', '--workdir', str(old)]) == 0
  out = capsys.readouterr().out
  assert f'({results["test"]["correct"]} of 41;' in out
  assert f'NLL             {results["test"]["loss"]:.3f} nats' in out


def test_it_predicts_what_it_predicted(old, tmp_path):
  before = np.load(old / 'predictions.npz')
  classifier = mils_jax.load(old)
  split = build.open_data(saved_config(RunFolder(old))).splits['test']
  assert list(split.example_ids) == list(before['example_id' if 'example_id' in before else 'identity'])
  found = classifier(np.asarray(split.images), ['R', 'G', 'B'])
  np.testing.assert_allclose(found, softmax(before['logits'], axis=1), rtol=1e-3, atol=1e-5)
  image = np.zeros((8, 8, 3), np.uint8)
  Image.fromarray(image).save(tmp_path / 'black.png')
  assert main(['main.py', '--mode', 'predict', '--workdir', str(old), f'--input={tmp_path / "black.png"}']) == 0
  (csv,) = old.glob('predictions-*.csv')
  predicted = csv.read_text().splitlines()[1].split(',')[1]
  assert predicted == classifier.classes[classifier(image)[0].argmax()]


def test_it_is_reported_with_its_subsets(old, tmp_path, capsys):
  results = json.loads((old / 'results.json').read_text())
  assert main(['main.py', '--mode', 'report', f'--runs={old}', f'--workdir={tmp_path / "report"}']) == 0
  text = (tmp_path / 'report' / 'report.md').read_text()
  subsets = json.loads((old / 'subsets.json').read_text())['subsets']
  assert f'{100 * results["test"]["rate"]:.2f}' in text
  assert all(f'{100 * one["rate"]:.2f}' in text for one in subsets)


def test_it_resumes_from_its_checkpoint_and_ends(old, capsys):
  for name in ('results.json', 'predictions.npz'):
    (old / name).unlink()
  shutil.rmtree(old / 'checkpoints' / 'latest' / '6')  # as if stopped after its first epoch
  before = [json.loads(line) for line in (old / 'metrics.jsonl').read_text().splitlines()]
  assert main(['main.py', '--workdir', str(old)]) == 0
  assert 'resuming from step 3 (1 epoch and 0 steps done)' in capsys.readouterr().out
  metrics = [json.loads(line) for line in (old / 'metrics.jsonl').read_text().splitlines()]
  assert [line['step'] for line in metrics] == [3, 6]
  assert metrics[0]['train_loss'] == before[0]['train_loss']
  assert metrics[1]['train_loss'] == pytest.approx(before[1]['train_loss'], rel=1e-3)  # its draws are as they were
  assert json.loads((old / 'results.json').read_text())['test']['count'] == 41


def test_the_command_that_started_it_finds_it_finished(old, capsys):
  assert main(['main.py', '--workdir', str(old)]) == 0
  assert 'is finished; this is its result' in capsys.readouterr().out

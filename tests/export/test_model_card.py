import dataclasses
import json
import shutil

import pytest

import mils_jax
from mils_jax.export.function import ExportedModel
from mils_jax.export.model_card import model_card
from mils_jax.restore import restore
from mils_jax.training.run_folder import RunFolder


@pytest.fixture
def run(small_runs, tmp_path):
  return RunFolder(shutil.copytree(small_runs['dynamic_resnet12'], tmp_path / 'run'))


def test_it_has_what_a_reader_and_a_hub_look_for(run, hub_folder):
  card = (hub_folder / 'README.md').read_text()
  assert card == model_card(ExportedModel(restore(run)), run)
  for title in ('Input', 'Classes', 'Results', 'Intended use and limits', 'How to load'):
    assert f'\n## {title}\n' in card
  assert "mils_jax.load('hf://USER/NAME')" in card
  assert 'red disc, green disc' in card
  scores = run.read_results()['test']
  low, high = scores['wilson_95']
  assert f'{scores["rate"]:.2%} [{100 * low:.1f} to {100 * high:.1f}]' in card.replace('\u00a0', ' ')
  assert mils_jax.__version__ in card


def test_its_head_is_metadata(run):
  yaml = pytest.importorskip('yaml', reason='comes with the extra hub')
  card = model_card(ExportedModel(restore(run)), run)
  head = yaml.safe_load(card.split('---\n')[1])
  assert head['library_name'] == 'mils-jax'
  (result,) = head['model-index'][0]['results']
  assert result['metrics'][0] == {'type': 'accuracy', 'name': 'Accuracy',
                                  'value': pytest.approx(run.read_results()['test']['rate'], rel=1e-5)}
  assert result['dataset']['name'] == 'shapes'


def row(channels, correct):
  return {'channels': channels, 'correct': correct, 'count': 41}


@pytest.mark.parametrize('many', [False, True])
def test_the_subsets_are_told_where_they_were_tested(run, many):
  subsets = [row(['R'], 5), row(['R', 'G'], 9)] * (20 if many else 1)
  sizes = [{'size': 1, 'number': 3, 'mean': 0.1, 'worst': row(['B'], 3)}]
  run.subsets.write_text(json.dumps({'channels': ['R', 'G', 'B'], 'subsets': subsets, 'sizes': sizes}))
  card = model_card(ExportedModel(restore(run)), run).replace('\u00a0', ' ')
  assert ('| R, G     |   21.95% [12.0 to 36.7] |' in card) is not many
  assert ('| 1 of 3   |       3 | 10.00% |' in card) is many


def test_names_are_shown_as_they_are(run):
  restored = restore(run)
  channels = dataclasses.replace(restored.spec.channels, names=('a|b', 'G', 'B'))
  spec = dataclasses.replace(restored.spec, channels=channels, classes=('<b>bold</b>', 'two\nlines',
                                                                       *restored.spec.classes[2:]))
  card = model_card(ExportedModel(dataclasses.replace(restored, spec=spec)), run)
  assert r'| a\|b ' in card
  assert r'\<b>bold\</b>, two lines, ' in card


def test_a_run_that_is_not_finished_has_no_results(run):
  run.results.unlink()
  card = model_card(ExportedModel(restore(run)), run)
  assert 'it has not been tested' in card
  assert 'model-index' not in card


def test_a_run_of_an_earlier_version_has_the_scores_that_it_has(run):
  results = run.read_results()
  for name in ('balanced_accuracy', 'macro_f1', 'calibration_error'):
    del results['test'][name]
  run.results.write_text(json.dumps(results))
  card = model_card(ExportedModel(restore(run)), run)
  assert '| NLL ' in card
  assert '- type: accuracy' in card
  assert 'acro F1' not in card

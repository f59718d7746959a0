import itertools

import numpy as np
import pytest

import mils_jax
from mils_jax import build
from mils_jax.cli import main
from mils_jax.errors import UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.models import WideCNN
from mils_jax.report.subsets import subset_lines
from mils_jax.run_config import saved_config
from mils_jax.subsets import SubsetReport, SubsetResult, check_subset, predict_subsets, select_subsets
from mils_jax.training.run_folder import RunFolder


@pytest.mark.parametrize('count', [1, 3, 8])
def test_up_to_eight_channels_every_subset_comes_once_smaller_ones_first(count):
  channels = [f'c{place}' for place in range(count)]
  subsets = select_subsets(channels, 8, sampled_subsets=5, seed=0)
  assert len(set(subsets)) == len(subsets) == 2**count - 1
  assert [len(subset) for subset in subsets] == sorted(len(subset) for subset in subsets)
  assert subsets[-1] == tuple(channels)


@pytest.mark.parametrize(('count', 'sampled'), [(9, 20), (200, 50)])
def test_of_more_channels_singles_all_but_one_the_full_set_and_a_seeded_choice(count, sampled):
  channels = [f'c{place}' for place in range(count)]
  subsets = select_subsets(channels, 8, sampled, seed=3)
  assert len(set(subsets)) == len(subsets) == 2 * count + 1 + sampled
  assert {(name,) for name in channels} < set(subsets)
  assert set(itertools.combinations(channels, count - 1)) < set(subsets)
  assert subsets[-1] == tuple(channels)
  assert all(list(subset) == sorted(subset, key=channels.index) for subset in subsets)
  assert subsets == select_subsets(channels, 8, sampled, seed=3) != select_subsets(channels, 8, sampled, seed=4)


def test_no_more_is_drawn_than_there_is():
  assert len(select_subsets([f'c{place}' for place in range(9)], 8, sampled_subsets=10**6, seed=0)) == 2**9 - 1


@pytest.mark.parametrize(('subset', 'message'), [((), 'names no channel'), (('R', 'X'), "'R,X' names 'X'")])
def test_a_subset_that_cannot_be_is_refused_with_the_valid_names(subset, message):
  with pytest.raises(UserError, match=f'{message}.*Valid: R, G'):
    check_subset(subset, ('R', 'G'))


def result(channels, correct):
  """Predictions of ten examples, the first `correct` ones right."""
  logits = np.zeros((10, 2), np.float32)
  logits[np.arange(10), [1] * correct + [0] * (10 - correct)] = 1
  return SubsetResult(channels, Predictions(np.array([f'p{i}' for i in range(10)]), np.ones(10, np.int32), logits))


REPORT = SubsetReport(('R', 'G'), (result(('R',), 3), result(('G',), 8), result(('R', 'G'), 9)))


def test_the_report_says_what_counting_by_hand_says(tmp_path):
  values = REPORT.to_json()
  assert [row['correct'] for row in values['subsets']] == [3, 8, 9]
  assert [(row['size'], row['number'], row['mean']) for row in values['sizes']] == [(1, 2, 0.55), (2, 1, 0.9)]
  assert values['sizes'][0]['worst']['channels'] == ['R']
  worth = {row['channel']: (row['difference']['only_first'], row['difference']['difference'])
           for row in values['worth']}
  assert worth == {'R': (1, 0.1), 'G': (6, 0.6)}
  assert REPORT.mean == pytest.approx(2 / 3)
  text = '\n'.join(subset_lines(REPORT, tmp_path))
  assert '90.0% (59.6% to 98.2%)' in text
  assert text.index('G         +60.0') < text.index('R         +10.0')


def test_what_is_saved_can_be_paired_again(tmp_path):
  REPORT.save(RunFolder(tmp_path))
  with np.load(tmp_path / 'subsets.npz') as saved:
    assert (saved['predicted'] == saved['label']).sum(axis=1).tolist() == [3, 8, 9]
    assert saved['channels'].tolist() == ['R', 'G']
    assert saved['present'].tolist() == [[True, False], [False, True], [True, True]]
  lines = (tmp_path / 'subsets.csv').read_text().splitlines()
  assert lines[1] == '1,R,3,10,0.3000,0.1078,0.6032,0.3000'
  assert len(lines) == 4


def test_a_runs_subsets_are_what_it_says_of_images_with_these_channels_alone(small_runs, capsys):
  folder = RunFolder(small_runs['dynamic_resnet12'])
  assert main(['main.py', '--mode=subsets', f'--workdir={folder.path}']) == 0
  assert 'mean over the 7 subsets' in capsys.readouterr().out
  split = build.open_data(saved_config(folder)).splits['test']
  classifier, images = mils_jax.load(folder.path), np.asarray(split.images)
  with np.load(folder.subset_answers) as saved:
    for present, predicted in zip(saved['present'], saved['predicted'], strict=True):
      expected = classifier(images[..., present], saved['channels'][present].tolist()).argmax(axis=1)
      assert (predicted == expected).mean() > 0.95  # logits that are all but equal may be ordered otherwise
    assert len({tuple(answers) for answers in saved['predicted'].tolist()}) > 1
    assert (saved['predicted'][-1] == saved['label']).sum() == folder.read_results()['test']['correct']


def test_one_compiled_program_serves_all_subsets(small_runs, monkeypatch):
  folder = RunFolder(small_runs['wide_cnn'])
  traced = []
  apply = WideCNN.apply
  monkeypatch.setattr(WideCNN, 'apply', lambda *given, **named: traced.append(1) or apply(*given, **named))
  config = saved_config(folder).lock()
  found = dict(predict_subsets(config, folder, [('R',), ('G', 'B'), ('R', 'G', 'B')]))
  assert len(found) == 3
  assert len(traced) == 1

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
from scipy.special import softmax

import mils_jax
from mils_jax import build, subsets
from mils_jax.channel_subsets import EvaluationOptions, check_subset, select_subsets
from mils_jax.cli import main
from mils_jax.commands.subsets import subset_lines
from mils_jax.errors import UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.models import WideCNN
from mils_jax.run_config import saved_config
from mils_jax.subsets import SubsetReport, evaluate_subsets, read_subset_correct
from mils_jax.training.run_folder import RunFolder


@pytest.mark.parametrize('count', [1, 3, 8])
def test_up_to_eight_channels_every_subset_comes_once_smaller_ones_first(count):
  channels = [f'c{place}' for place in range(count)]
  subsets = select_subsets(channels, EvaluationOptions(sampled_subsets=5))
  assert len(set(subsets)) == len(subsets) == 2**count - 1
  assert [len(subset) for subset in subsets] == sorted(len(subset) for subset in subsets)
  assert subsets[-1] == tuple(channels)


@pytest.mark.parametrize(('count', 'sampled'), [(9, 20), (200, 50)])
def test_of_more_channels_singles_all_but_one_the_full_set_and_a_seeded_choice(count, sampled):
  channels = [f'c{place}' for place in range(count)]
  options = EvaluationOptions(8, sampled, seed=3)
  subsets = select_subsets(channels, options)
  assert len(set(subsets)) == len(subsets) == 2 * count + 1 + sampled
  assert {(name,) for name in channels} < set(subsets)
  assert set(itertools.combinations(channels, count - 1)) < set(subsets)
  assert subsets[-1] == tuple(channels)
  assert all(list(subset) == sorted(subset, key=channels.index) for subset in subsets)
  assert subsets == select_subsets(channels, options)
  assert subsets != select_subsets(channels, dataclasses.replace(options, seed=4))


def test_subsets_by_name_are_evaluated_alone_and_those_of_channel_dropout_beside_the_usual_ones():
  channels = [f'c{place}' for place in range(12)]
  assert select_subsets(channels, EvaluationOptions(subsets='c3,c1; c2')) == [('c2',), ('c1', 'c3')]
  named = [('c1', 'c3', 'c4')]
  assert named[0] in select_subsets(channels, EvaluationOptions(sampled_subsets=0), named)
  assert named[0] not in select_subsets(channels, EvaluationOptions(sampled_subsets=0))
  with pytest.raises(UserError, match=r"names 'c13', which is no channel here"):
    select_subsets(channels, EvaluationOptions(subsets='c1,c13'))


def test_no_more_is_drawn_than_there_is():
  assert len(select_subsets([f'c{place}' for place in range(9)], EvaluationOptions(sampled_subsets=10**6))) == 2**9 - 1


@pytest.mark.parametrize(('subset', 'message'), [((), 'names no channel'), (('R', 'X'), "'R,X' names 'X'")])
def test_a_subset_that_cannot_be_is_refused_with_the_valid_names(subset, message):
  with pytest.raises(UserError, match=f'{message}.*Valid: R, G'):
    check_subset(subset, ('R', 'G'))


def predictions(correct):
  """Of ten examples, the first `correct` ones right."""
  logits = np.zeros((10, 2), np.float32)
  logits[np.arange(10), [1] * correct + [0] * (10 - correct)] = 1
  return Predictions(np.array([f'p{i}' for i in range(10)]), np.ones(10, np.int32), logits)


REPORT = SubsetReport(('R', 'G'), 7, {('R',): predictions(3), ('G',): predictions(8), ('R', 'G'): predictions(9)})


def test_the_report_equals_counting_by_hand(tmp_path):
  values = REPORT.to_json()
  assert [row['correct'] for row in values['subsets']] == [3, 8, 9]
  assert [(row['size'], row['number'], row['mean']) for row in values['sizes']] == [(1, 2, 0.55), (2, 1, 0.9)]
  assert values['sizes'][0]['worst']['channels'] == ['R']
  importance = {row['channel']: (row['difference']['only_first'], row['difference']['difference'])
                for row in values['importance']}
  assert importance == {'R': (1, 0.1), 'G': (6, 0.6)}
  assert REPORT.mean == pytest.approx(2 / 3)
  text = '\n'.join(subset_lines(REPORT, RunFolder(tmp_path)))
  assert '90.00% [59.6 to 98.2]' in text
  assert text.index('| G       |  +60.0 |') < text.index('| R       |  +10.0 |')


def test_what_images_do_not_have_is_not_asked_of_them(tmp_path):
  given = np.ones((10, 2), bool)
  given[:4, 1] = False  # the first four, which R gets wrong but for three, have no G
  report = dataclasses.replace(REPORT, given=given)
  assert [str(report.accuracy(subset).count) for subset in report.predictions] == ['10', '6', '10']
  assert report.accuracy(('G',)).correct == 4  # 4 to 7 of the first eight
  importance = report.importance()
  assert (importance['G'].count, importance['R'].count) == (6, 6)
  assert importance['G'].difference == pytest.approx(5 / 6)  # all: 4 to 8; R alone: none of them
  assert importance['R'].difference == pytest.approx(1 / 6)
  text = '\n'.join(subset_lines(report, RunFolder(tmp_path)))
  assert 'each on the test images that have any of them (6 to 10 of 10)' in text
  report.save(RunFolder(tmp_path))
  assert SubsetReport.load(tmp_path / 'subsets.npz').to_json() == report.to_json()
  assert set(read_subset_correct(RunFolder(tmp_path), predictions(9))) == {('R',), ('R', 'G')}
  apart = np.array([[True, False]] * 5 + [[False, True]] * 5)  # of two sensors: nothing to be left out of any image
  assert dataclasses.replace(REPORT, given=apart).importance() == {}


def test_importance_is_of_the_channels_whose_subsets_were_evaluated():
  assert list(REPORT.only([('R',), ('R', 'G')]).importance()) == ['G']
  assert REPORT.only([('R',), ('G',)]).importance() == {}
  assert SubsetReport(('R',), 7, {('R',): predictions(3)}).importance() == {}


def test_what_is_saved_is_read_back_and_can_be_paired_again(tmp_path):
  folder = RunFolder(tmp_path)
  REPORT.save(folder)
  loaded = SubsetReport.load(tmp_path / 'subsets.npz')
  assert (loaded.channels, loaded.step, list(loaded.predictions)) == (('R', 'G'), 7, [('R',), ('G',), ('R', 'G')])
  assert loaded.to_json() == REPORT.to_json() == json.loads((tmp_path / 'subsets.json').read_text())
  test = predictions(9)
  correct = read_subset_correct(folder, test)
  assert {subset: found.tolist() for subset, found in correct.items()} == {
      subset: one.correct.tolist() for subset, one in REPORT.predictions.items()}
  lines = (tmp_path / 'subsets.csv').read_text().splitlines()
  assert lines[1] == '1,R,3,10,0.3000,0.1078,0.6032,0.3000'
  assert len(lines) == 4


def test_a_runs_subsets_are_its_predictions_of_images_with_these_channels_alone(small_runs, tmp_path, capsys):
  folder = RunFolder(shutil.copytree(small_runs['dynamic_resnet12'], tmp_path / 'run'))
  assert main(['main.py', '--mode=subsets', f'--workdir={folder.path}']) == 0
  assert 'mean over the 7 subsets' in capsys.readouterr().out
  split = build.open_data(saved_config(folder)).splits['test']
  classifier, images = mils_jax.load(folder.path), np.asarray(split.images)
  found = SubsetReport.load(folder.subset_predictions)
  for subset, predictions in found.predictions.items():
    present = [name in subset for name in found.channels]
    expected = classifier(images[..., present], subset)
    np.testing.assert_allclose(softmax(predictions.logits[:, :20], axis=1), expected, rtol=1e-4, atol=1e-6)
  assert len({tuple(one.scores.predicted.tolist()) for one in found.predictions.values()}) > 1
  assert found.accuracy(found.channels).correct == folder.read_results()['test']['correct']


@pytest.fixture
def own_copy(small_runs, tmp_path):
  """A run folder without subsets, to write into."""
  shutil.copytree(small_runs['wide_cnn'], tmp_path / 'run')
  RunFolder(tmp_path / 'run').forget_findings()
  return RunFolder(tmp_path / 'run')


def test_one_compiled_program_serves_all_subsets(own_copy, monkeypatch):
  traced = []
  apply = WideCNN.apply
  monkeypatch.setattr(WideCNN, 'apply', lambda *given, **named: traced.append(1) or apply(*given, **named))
  found = evaluate_subsets(own_copy, [('R',), ('G', 'B'), ('R', 'G', 'B')])
  assert len(found.predictions) == 3
  assert len(traced) == 1


def test_the_one_file_is_extended_and_nothing_is_predicted_twice(own_copy, monkeypatch):
  opened = []
  open_run = subsets.open_run
  monkeypatch.setattr(subsets, 'open_run', lambda *given: opened.append(1) or open_run(*given))
  first = evaluate_subsets(own_copy, [('G', 'B'), ('R',)])  # as a sweep asks
  before = first.predictions['R',].logits
  assert list(first.predictions) == [('G', 'B'), ('R',)]
  again = evaluate_subsets(own_copy, [('R',)])
  np.testing.assert_array_equal(again.predictions['R',].logits, before)
  assert len(opened) == 1
  assert len(evaluate_subsets(own_copy).predictions) == 7  # as --mode subsets asks
  held = SubsetReport.load(own_copy.subset_predictions)
  assert list(held.predictions) == [('R',), ('G',), ('B',), ('R', 'G'), ('R', 'B'), ('G', 'B'), ('R', 'G', 'B')]
  np.testing.assert_array_equal(held.predictions['R',].logits, before)
  assert len(opened) == 2
  assert len(json.loads(own_copy.subsets.read_text())['importance']) == 3


def test_what_no_test_image_has_is_told_and_not_predicted(own_copy, monkeypatch, capsys):
  def opened(*given):
    run = open_run(*given)
    present = np.ones((len(run.data.splits['test'].labels), 3), bool)
    present[:, 2] = False
    run.data.splits['test'] = dataclasses.replace(run.data.splits['test'], present=present)
    return run

  open_run = subsets.open_run
  monkeypatch.setattr(subsets, 'open_run', opened)
  with pytest.raises(UserError, match=r'no test image has any of the channels of B\. Valid: R, G'):
    evaluate_subsets(own_copy, [('B',)])
  assert list(evaluate_subsets(own_copy, [('B',), ('R', 'B')]).predictions) == [('R', 'B')]
  assert 'no test image has any of the channels of B' in capsys.readouterr().out


@pytest.mark.parametrize('stale', ['another checkpoint', 'damaged', 'old'])
def test_what_is_not_of_the_best_checkpoint_is_predicted_anew(stale, own_copy):
  right = evaluate_subsets(own_copy, [('R',)]).predictions['R',]
  wrong = dataclasses.replace(SubsetReport.load(own_copy.subset_predictions),
                              predictions={('R',): dataclasses.replace(right, logits=right.logits + 1)})
  if stale == 'another checkpoint':
    dataclasses.replace(wrong, step=wrong.step - 1).save(own_copy)
  elif stale == 'damaged':
    own_copy.subset_predictions.write_bytes(b'PK half')
  else:
    np.savez(own_copy.subset_predictions, identity=right.example_ids, label=right.labels, channels=['R', 'G', 'B'],
             present=[[True, False, False]], predicted=[right.scores.predicted])
  np.testing.assert_array_equal(evaluate_subsets(own_copy, [('R',)]).predictions['R',].logits, right.logits)

"""Which folders become figures of a report, and what is reported about the others."""

import json
import re
import shutil

import numpy as np
import pytest

from mils_jax.errors import UserError
from mils_jax.report.read_runs import collect
from tests.report.fakes import add_subsets, fake_predictions, fake_run


def test_every_finished_run_is_read_those_inside_of_a_sweep_too(tmp_path):
  fake_run(tmp_path / 'one')
  fake_run(tmp_path / 'sweep' / 'name-seed0', accuracy=0.5)
  fake_run(tmp_path / 'sweep' / 'name-seed1', accuracy=0.5, seed=1)
  runs, others = collect(f'{tmp_path}/*')
  assert [run.name.removeprefix(f'{tmp_path}/') for run in runs] == ['one', 'sweep/name-seed0', 'sweep/name-seed1']
  assert not others
  assert runs[1].test.accuracy.correct == 225
  for run in runs[1:]:
    np.testing.assert_array_equal(run.test.example_ids, runs[0].test.example_ids)


def test_a_folder_may_be_called_like_a_pattern(tmp_path):
  fake_run(tmp_path / 'run [1]')
  (run,), others = collect(str(tmp_path / 'run [1]'))
  assert (run.folder.path.name, others) == ('run [1]', [])


def test_what_is_no_finished_run_is_named_with_its_reason(tmp_path):
  for name in ('good', 'stopped', 'damaged', 'changed', 'no json'):
    fake_run(tmp_path / name)
  (tmp_path / 'stopped' / 'results.json').unlink()
  (tmp_path / 'stopped' / 'metrics.jsonl').write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
  (tmp_path / 'damaged' / 'predictions.npz').write_bytes(b'PK and no more')
  shutil.copy(fake_run(tmp_path / 'other', accuracy=0.3) / 'predictions.npz', tmp_path / 'changed')
  (tmp_path / 'no json' / 'results.json').write_text('{')
  (tmp_path / 'notes').mkdir()
  fake_run(tmp_path / 'steps', **{'train.epochs': 0, 'train.steps': 474})
  (tmp_path / 'steps' / 'results.json').unlink()
  runs, others = collect(f'{tmp_path}/[gsdcn]*')
  assert [run.folder.path.name for run in runs] == ['good']
  reasons = {other.name.rpartition('/')[2]: other.reason for other in others}
  assert reasons['stopped'] == 'not finished: 2 of 6 epochs'
  assert reasons['steps'] == 'not finished: 6 epochs'
  assert reasons['damaged'] == 'damaged: predictions.npz cannot be read'
  assert reasons['changed'] == 'damaged: predictions.npz and results.json disagree'
  assert 'results.json cannot be read' in reasons['no json']
  assert reasons['notes'] == 'no run folder: it has no config.json'


@pytest.mark.parametrize(('file', 'name', 'key'), [
    ('results.json', 'results', 'macs'), ('run.json', 'run', 'versions'),
    ('subsets.json', 'subsets', 'subsets')])
def test_a_file_without_what_the_report_reads_of_it_is_damaged(file, name, key, tmp_path):
  fake_run(tmp_path / 'good')
  bad = fake_run(tmp_path / 'bad', seed=1)
  add_subsets(bad, {'RGB': 0.6, 'R': 0.4}, {})
  values = json.loads((bad / file).read_text())
  for damaged in ({other: value for other, value in values.items() if other != key}, []):
    (bad / file).write_text(json.dumps(damaged))
    (run,), (other,) = collect(f'{tmp_path}/*')
    assert run.name.endswith('/good')
    assert re.fullmatch(rf'damaged: (not in its {name}: .*{key}.*|.*{file} cannot be read: not a JSON object.*)',
                        other.reason)
  (bad / file).write_text(json.dumps(values))
  (bad / 'metrics.jsonl').write_text('{"epoch": 1}\n')
  assert 'not in its metrics: train_accuracy' in collect(f'{tmp_path}/*')[1][0].reason


@pytest.mark.parametrize(('config', 'reason'), [
    ([], 'damaged: .*config.json cannot be read: not a JSON object'),
    ({'schema': 2, 'model': {'name': 'wide_cnn', 'legs': 4}}, "config.json cannot be read: .*'model.legs'")])
def test_a_configuration_that_cannot_be_read_is_named_and_ends_no_report(config, reason, tmp_path):
  fake_run(tmp_path / 'good')
  (fake_run(tmp_path / 'bad', seed=1) / 'config.json').write_text(json.dumps(config))
  (run,), (other,) = collect(f'{tmp_path}/*')
  assert run.name.endswith('/good')
  assert re.search(reason, other.reason)


def test_what_is_left_of_a_run_inside_of_a_sweep_is_named_too(tmp_path):
  for seed in (0, 1):
    fake_run(tmp_path / 'sweep' / f'name-seed{seed}', seed=seed)
  (tmp_path / 'sweep' / 'name-seed1' / 'config.json').unlink()
  (tmp_path / 'sweep' / 'report').mkdir()
  (run,), (other,) = collect(f'{tmp_path}/*')
  assert run.name.endswith('name-seed0')
  assert (other.name, other.reason) == (f'{tmp_path}/sweep/name-seed1', 'damaged: it has no config.json')


def test_no_run_at_all_is_refused(tmp_path):
  with pytest.raises(UserError, match='no run matches --runs'):
    collect(f'{tmp_path}/*')
  (fake_run(tmp_path / 'run') / 'results.json').unlink()
  with pytest.raises(UserError, match=r'no run is finished\. .*: not finished: 6 of 6 epochs'):
    collect(f'{tmp_path}/*')


def test_missing_predictions_are_refused_with_what_makes_them(tmp_path):
  (fake_run(tmp_path / 'run') / 'predictions.npz').unlink()
  with pytest.raises(UserError, match=r'Make it: mils-jax evaluate .*/run'):
    collect(f'{tmp_path}/*')


def test_runs_of_different_classes_or_test_images_are_refused(tmp_path):
  fake_run(tmp_path / 'a')
  fake_run(tmp_path / 'b', names=['cat', 'dog', 'class 2', 'class 3', 'class 4'])
  fake_run(tmp_path / 'c', count=400)
  fake_run(tmp_path / 'd', names=[f'class {label}' for label in (1, 0, 2, 3, 4)])
  with pytest.raises(UserError, match=r'different classes \(in another order\)'):
    collect(f'{tmp_path}/[ad]')
  with pytest.raises(UserError, match=r'different classes \(cat, class 0, class 1, dog\)'):
    collect(f'{tmp_path}/[ab]')
  with pytest.raises(UserError, match='tested on different images: 450 images, fingerprint'):
    collect(f'{tmp_path}/[ac]')


def test_subset_predictions_are_joined_with_the_test_images(tmp_path):
  add_subsets(fake_run(tmp_path / 'run'), {'RGB': 0.6, 'R': 0.4}, {})
  (run,), _ = collect(f'{tmp_path}/*')
  assert {subset: int(correct.sum()) for subset, correct in run.subset_correct.items()} == {
      ('R', 'G', 'B'): 270, ('R',): 180}


def test_subset_predictions_without_their_summary_are_used_and_damaged_ones_are_named(tmp_path):
  folder = fake_run(tmp_path / 'run')
  add_subsets(folder, {'RGB': 0.6, 'R': 0.4}, {})
  (folder / 'subsets.json').unlink()
  assert {subset: found.correct for subset, found in collect(f'{tmp_path}/*')[0][0].subset_accuracy.items()} == {
      ('R', 'G', 'B'): 270, ('R',): 180}
  with np.load(folder / 'subsets.npz') as saved:
    np.savez(folder / 'subsets.npz', **{**saved, 'channels': ['R']})
  (run,), (damaged,) = collect(f'{tmp_path}/*')
  assert run.subset_correct == {}
  assert (damaged.name, damaged.reason) == (str(folder / 'subsets.npz'), 'damaged: subsets.npz cannot be read')


def test_subset_predictions_that_a_sweep_kept_before_schema_2_are_read_too(tmp_path):
  folder, test = fake_run(tmp_path / 'run'), fake_predictions(0.4)
  order = np.random.default_rng(0).permutation(450)
  np.savez(folder / 'subset_predictions.npz', subset=['R,B'], identity=test.example_ids[order],
           label=test.labels[order], logits=test.logits[order][None])
  (run,), _ = collect(f'{tmp_path}/*')
  np.testing.assert_array_equal(run.subset_correct['R', 'B'], test.correct)
  assert run.subset_accuracy['R', 'B'].correct == 180
  (folder / 'subset_predictions.npz').write_bytes(b'PK damaged')
  (run,), (damaged,) = collect(f'{tmp_path}/*')
  assert run.subset_correct == {}
  assert damaged.reason == 'damaged: subset_predictions.npz cannot be read'

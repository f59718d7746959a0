"""The tables that end a sweep, against counts made by hand."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import task_a, task_b
from mils_jax import subset_cache
from mils_jax.errors import RunError, UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.report.sweep import TABLES, write_table
from mils_jax.sweeps.comparison import compare_ablation, compare_models, compare_specialists
from mils_jax.sweeps.sweep import read_sweep, write_members

N = 100
WIDE, DYNAMIC = task_b.get_config(), task_a.get_config()


def said(right):
  """Predictions that are right on the examples of these numbers: of label 1, among two classes."""
  correct = np.isin(np.arange(N), list(right))
  names = np.array([f'{number:03}' for number in range(N)])
  return Predictions(names, np.ones(N, np.int32), np.stack([~correct, correct], 1).astype(np.float32))


def make(folder, table, members):
  sweep = read_sweep(ConfigDict({'name': 'made', 'table': table, 'common': {}, 'members': members}), folder)
  write_members(sweep)
  return sweep


def finish(member, right, channels='RGB', macs=1000, subsets=None):
  """Makes a member finished, as if it had been right on these examples, and on these ones by subset."""
  member.folder.claim(member.config.to_dict())
  predictions = said(right)
  predictions.save(member.folder.predictions)
  member.folder.results.write_text(json.dumps({
      'test': {'correct': len(right), 'count': N}, 'channels': list(channels), 'macs': macs, 'flops': 2 * macs,
      'parameters': macs // 10}))
  if subsets:
    with member.folder.subset_predictions.open('wb') as file:
      np.savez(file, subset=[','.join(subset) for subset in subsets], example_id=predictions.example_ids,
               label=predictions.labels, logits=np.stack([said(one).logits for one in subsets.values()]))


def cells(lines, first):
  (line,) = [line for line in lines if line.startswith(f'| {first} ')]
  return [cell.strip() for cell in line.strip('|').split('|')]


def test_a_generalist_is_compared_on_each_specialists_own_channels(tmp_path):
  sweep = make(tmp_path, 'specialists', (
      ('RG', DYNAMIC, {'channels.use': 'RG'}, (0,)), ('B', DYNAMIC, {'channels.use': 'B'}, (0,)),
      ('one-for-all', DYNAMIC, {'channels.dropout': 'hierarchical'}, (0,))))
  finish(sweep.members[0], range(60), 'RG')
  finish(sweep.members[1], range(40), 'B')
  finish(sweep.members[2], range(5), subsets={('B',): range(30), ('R', 'G'): range(2, 62), ('R', 'G', 'B'): range(5)})
  (table,) = compare_specialists(sweep)
  rg, b = table.rows
  assert (rg.specialist.correct, rg.generalist.correct, rg.difference.only_first, rg.difference.only_second) == (
      60, 60, 2, 2)
  assert (b.generalist.correct, b.difference.difference) == (30, -0.1)
  assert b.adjusted_p == pytest.approx(2 * 2 / 2 ** 10)  # ten of ten one way, the smaller of two tests
  assert rg.adjusted_p == 1
  assert table.worst is b
  assert table.mean.difference == pytest.approx(-0.05)
  lines = write_table(sweep)
  assert cells(lines, 'B')[1:3] == ['40.00% [30.9, 49.8]', '30.00% [21.9, 39.6]']
  assert cells(lines, 'R,G')[5:] == ['1 000', '2 000', '100']
  assert any(line.startswith('Mean difference: -5.00 [') for line in lines)
  assert any('Worst: -10.00 [' in line and line.endswith('on B.') for line in lines)
  assert (tmp_path / 'sweep.md').read_text().startswith('# made\n\n| channels')


def test_an_ablation_holds_each_mean_over_subsets_against_the_first(tmp_path):
  sweep = make(tmp_path, 'ablation', (
      ('default', DYNAMIC, {}, (0, 1)), ('worse', DYNAMIC, {'model.rescale': True}, (0,)),
      ('alike', DYNAMIC, {'model.imputation': 'learned'}, (0,))))
  for member, less in zip(sweep.members, (0, 2, 40, 1), strict=True):
    finish(member, range(80 - less), 'RG',
           subsets={('R',): range(60 - less), ('G',): range(50 - less), ('R', 'G'): range(80 - less)})
  default, worse, alike = compare_ablation(sweep)
  assert default.mean.values == pytest.approx((190 / 300, 184 / 300))
  assert (default.difference, default.worst_subset, default.worst.rate) == (None, ('G',), 0.49)
  assert (default.full.rate, worse.full.rate) == (0.79, 0.40)
  assert worse.difference.difference == pytest.approx(-0.39)
  assert alike.difference.difference == pytest.approx(0)
  lines = write_table(sweep)
  assert cells(lines, 'worse')[-1] == 'yes'
  assert cells(lines, 'alike')[-1] == 'no'
  assert cells(lines, 'default')[2] == '62.33% (sd 1.41)'


def test_a_difference_that_seeds_alone_could_make_is_not_larger_than_noise(tmp_path):
  sweep = make(tmp_path, 'ablation', (
      ('default', DYNAMIC, {}, (0, 1)), ('other', DYNAMIC, {'model.imputation': 'mlp'}, (0,))))
  for member, right in zip(sweep.members, (80, 40, 30), strict=True):  # whichever images: clear; whichever seed: not
    finish(member, range(right), 'R', subsets={('R',): range(right)})
  _, other = compare_ablation(sweep)
  assert other.adjusted_p < 0.001
  assert cells(write_table(sweep), 'other')[-1] == 'no'


def test_networks_are_held_against_the_first_with_their_seeds_averaged(tmp_path):
  sweep = make(tmp_path, 'models', (('reference', WIDE, {}, (0, 1, 2)), ('small', WIDE, {'model.stages': 2}, (0,)),
                                    ('twin', WIDE, {'model.stages': 3}, (0,))))
  for member, right in zip(sweep.members, (50, 52, 54, 26), strict=False):
    finish(member, range(right), macs=500 if member.name == 'small' else 1000)
  reference, small = compare_models(sweep)
  assert (reference.accuracy.rate, reference.seeds.deviation) == (0.52, pytest.approx(0.02))
  assert (reference.share, reference.difference) == (None, None)
  assert small.share.ratio == pytest.approx(0.5)
  assert small.difference.difference == pytest.approx(-0.26)
  lines = write_table(sweep)
  assert cells(lines, 'reference')[1:5] == ['4', '52.00% [42.3, 61.5]', '3', '2.00 points']
  assert any('small is 26.0 points worse than reference on 100 images: distinguishable' in line
             and 'below 90%, with 0.50 times the MACs' in line for line in lines)
  assert 'not finished: twin-seed0' in lines


def test_runs_on_other_images_and_damaged_predictions_are_refused(tmp_path):
  sweep = make(tmp_path, 'models', (('first', WIDE, {}, (0,)), ('second', WIDE, {'model.stages': 2}, (0,))))
  for member in sweep.members:
    finish(member, range(9))
  other = sweep.members[1].folder.predictions
  one = said(range(9))
  Predictions(np.char.add('x', one.example_ids), one.labels, one.logits).save(other)
  with pytest.raises(UserError, match='first-seed0 and second-seed0 were tested on different images'):
    write_table(sweep)
  other.write_bytes(b'')
  with pytest.raises(RunError, match=r'cannot be read: .* Delete .*results\.json and run the sweep again'):
    write_table(sweep)


def test_members_that_cannot_make_the_table_are_refused_before_training(tmp_path):
  members = (('a', DYNAMIC, {'channels.use': 'R'}, (0,)), ('b', DYNAMIC, {}, (0,)))
  with pytest.raises(UserError, match='needs a generalist'):
    TABLES['specialists'].check(make(tmp_path, 'specialists', members))
  with pytest.raises(UserError, match=r'same channels\.use; here are '):
    TABLES['ablation'].check(make(tmp_path, 'ablation', members))


def test_subsets_are_computed_once(tmp_path, monkeypatch):
  calls = []
  monkeypatch.setattr(subset_cache, 'predict_subsets',
                      lambda config, folder, subsets: calls.append(subsets) or {subset: said(range(len(subset)))
                                                                                for subset in subsets})
  folder = make(tmp_path, 'models', (('a', DYNAMIC, {}, (0,)),)).members[0].folder
  folder.claim({})
  for _ in range(2):
    found = subset_cache.cached_subset_predictions(folder, [('R',), ('R', 'G')])
    assert [one.correct.sum() for one in found.values()] == [1, 2]
  (only,) = subset_cache.cached_subset_predictions(folder, [('R', 'G')]).values()
  assert only.correct.sum() == 2
  assert len(calls) == 1
  folder.subset_predictions.write_bytes(b'half')
  subset_cache.cached_subset_predictions(folder, [('R',)])
  assert len(calls) == 2

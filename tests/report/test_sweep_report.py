"""The table that ends a sweep and the report on it, against counts made by hand."""

import json
import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import task_a, task_b
from mils_jax.errors import UserError
from mils_jax.metrics import SeedSpread
from mils_jax.metrics.predictions import Predictions
from mils_jax.report.groups import make_groups
from mils_jax.report.read_runs import collect
from mils_jax.report.sections.ablation import seed_noise
from mils_jax.report.write import write_report, write_sweep
from mils_jax.run_config import claim
from mils_jax.subsets import SubsetReport
from mils_jax.sweeps.sweep import read_record, read_sweep, write_runs

N = 100
WIDE, DYNAMIC = task_b.get_config(), task_a.get_config()


def right_on(examples):
  """Predictions that are right on the examples of these numbers: of label 1, among two classes."""
  correct = np.isin(np.arange(N), list(examples))
  names = np.array([f'{number:03}' for number in range(N)])
  return Predictions(names, np.ones(N, np.int32), np.stack([~correct, correct], 1).astype(np.float32))


def make(folder, table, runs):
  sweep = read_sweep(ConfigDict({'name': 'made', 'table': table, 'common': {}, 'runs': runs}), folder)
  write_runs(sweep)
  return sweep


def finish(run, examples, channels='RGB', macs=1000, subsets=None):
  """Makes a run finished, as if it had been right on these examples, and on these ones by subset."""
  claim(run.folder, run.config)
  predictions = right_on(examples)
  predictions.save(run.folder.predictions)
  run.folder.results.write_text(json.dumps({
      'test': predictions.scores.to_json(), 'channels': list(channels), 'input_channels': list(channels), 'macs': macs,
      'flops': 2 * macs, 'parameters': macs // 10, 'classes': ['no', 'yes'], 'epochs': 3, 'best_epoch': 2,
      'image_shape': [8, 8, 3], 'data_fingerprint': 'ab' * 12}))
  if subsets:
    SubsetReport(tuple(channels), 9, {subset: right_on(one) for subset, one in subsets.items()}).save(run.folder)


def cells(lines, first):
  (line,) = [line for line in lines if line.startswith(f'| {first} ')]
  return [cell.strip() for cell in line.strip('|').split('|')]


def test_a_generalist_is_compared_on_each_specialists_own_channels(tmp_path):
  sweep = make(tmp_path, 'specialists', (
      ('RG', DYNAMIC, {'channels.use': 'RG'}, (0,)), ('B', DYNAMIC, {'channels.use': 'B'}, (0,)),
      ('one-for-all', DYNAMIC, {'channel_dropout.method': 'hierarchical'}, (0,))))
  finish(sweep.runs[0], range(60), 'RG')
  finish(sweep.runs[1], range(40), 'B')
  finish(sweep.runs[2], range(5), subsets={('B',): range(30), ('R', 'G'): range(2, 62), ('R', 'G', 'B'): range(5)})
  for path in tmp_path.glob('*/results.json'):  # networks of one size, whatever they are given
    path.write_text(json.dumps({**json.loads(path.read_text()), 'input_channels': ['R', 'G', 'B']}))
  lines = write_sweep(tmp_path)
  gaps = lines[lines.index(next(line for line in lines if 'one-for-all against a specialist' in line)):]
  assert cells(gaps, 'RG') == ['RG', '60.00%', '60.00%', '+0.0', '[-4.4 to +4.4]', '1.00', '1.00']  # 2 each way
  b = cells(gaps, 'B')
  assert b[:4] == ['B', '40.00%', '30.00%', '-10.0']
  assert b[5:] == ['0.002', '0.0039']  # ten of ten one way: 2 / 2 ** 10, the smaller of two tests
  assert cells(gaps, 'mean')[3] == '-5.0'
  sentence = re.compile(r'Mean over 2 subsets: one-for-all is 5.0 points worse than specialists on 100 images: .*'
                        r'The worst is -10.0 points \[.*\] with B\. It was trained for \d+ epochs?, the 2 specialists '
                        r'for \d+ together\.')
  assert any(sentence.fullmatch(line) for line in lines)
  assert any('30.00% [21.9 to 39.6]' in line for line in lines)
  assert (tmp_path / 'sweep.md').read_text().startswith('# Sweep made\n\n3 finished runs of 3 configurations')
  assert str(tmp_path) not in (tmp_path / 'sweep.md').read_text()


def test_an_ablation_holds_each_mean_over_subsets_against_the_first(tmp_path):
  sweep = make(tmp_path, 'ablation', (
      ('default', DYNAMIC, {}, (0, 1)), ('worse', DYNAMIC, {'model.rescale': True}, (0,)),
      ('alike', DYNAMIC, {'model.imputation': 'learned'}, (0,)),
      ('unmeasured', DYNAMIC, {'model.temperature': 9.0}, (0,))))
  for run, less in zip(sweep.runs, (0, 2, 40, 1), strict=False):
    finish(run, range(80 - less), 'RG',
           subsets={('R',): range(60 - less), ('G',): range(50 - less), ('R', 'G'): range(80 - less)})
  finish(sweep.runs[4], range(70), 'RG')
  lines = write_sweep(tmp_path)
  start = lines.index('## Ablation')
  table = lines[start:]
  assert [line.split('|')[1].strip() for line in table if line.startswith('| ')][1:] == ['default', 'worse', 'alike']
  default, worse, alike = (cells(table, name) for name in ('default', 'worse', 'alike'))
  assert default[1:4] == ['79.00% [70.0 to 85.8]', '62.33%', 'std 1.41 over 2 seeds, mean [49.6 to 75.0]']
  assert default[4:] == ['49.00% [39.4 to 58.7] G', '', '', '', '']
  assert (worse[2], worse[5], worse[8]) == ('23.33%', '-39.0', 'yes')
  assert (alike[5], alike[8]) == ('+0.0', 'no')
  assert 'Not evaluated on channel subsets: unmeasured. mils-jax subsets does it.' in table
  assert any('default has a std of 1.41 points over its seeds' in line for line in table)


def test_an_ablation_counts_the_subsets_that_all_were_evaluated_on(tmp_path):
  sweep = make(tmp_path, 'ablation', (('a', DYNAMIC, {}, (0,)), ('b', DYNAMIC, {'model.rescale': True}, (0,))))
  finish(sweep.runs[0], range(80), 'RG', subsets={('R',): range(10), ('R', 'G'): range(80)})
  finish(sweep.runs[1], range(70), 'RG', subsets={('G',): range(90), ('R', 'G'): range(70)})
  lines = write_sweep(tmp_path)
  assert any(line.startswith('Each run over the same 1 channel subset.') for line in lines)
  table = lines[lines.index('## Ablation'):]
  assert (cells(table, 'a')[2], cells(table, 'b')[2], cells(table, 'b')[5]) == ('80.00%', '70.00%', '-10.0')


def test_a_difference_that_seeds_alone_could_make_is_not_larger_than_noise(tmp_path):
  sweep = make(tmp_path, 'ablation', (
      ('default', DYNAMIC, {}, (0, 1)), ('other', DYNAMIC, {'model.imputation': 'mlp'}, (0,))))
  for run, right in zip(sweep.runs, (80, 40, 30), strict=True):  # whichever images: clear; whichever seed: not
    finish(run, range(right), 'R', subsets={('R',): range(right)})
  other = cells(write_sweep(tmp_path), 'other')
  assert other[5:] == ['-30.0', other[6], '< 0.001', 'no']


def test_the_noise_of_seeds_is_students():
  """Two seeds: t(1 degree of freedom, 97.5%) = 12.706; one run against their mean: std * sqrt(1 + 1 / 2)."""
  assert seed_noise(SeedSpread((0.4, 0.6)), 1) == pytest.approx(12.7062 * np.sqrt(0.02) * np.sqrt(1.5), rel=1e-5)
  assert seed_noise(SeedSpread((0.4,)), 1) == 0


def test_networks_are_held_against_the_first_with_their_seeds_averaged(tmp_path):
  sweep = make(tmp_path, 'models', (('reference', WIDE, {}, (0, 1, 2)), ('small', WIDE, {'model.stages': 2}, (0,)),
                                    ('twin', WIDE, {'model.stages': 3}, (0,))))
  for run, right in zip(sweep.runs, (50, 52, 54, 26), strict=False):
    finish(run, range(right), macs=500 if run.name == 'small' else 1000)
  lines = write_sweep(tmp_path)
  text = (tmp_path / 'sweep.md').read_text()
  assert lines[:len(text.splitlines())] == text.splitlines()
  table = lines[:lines.index(next(line for line in lines if line.startswith('Other scores')))]
  assert cells(table, 'model')[3] == 'share of reference'
  assert cells(table, 'reference')[1:4] == ['52.00% [42.3 to 61.5]', 'std 2.00 over 3 seeds, mean [47.0 to 57.0]',
                                            '100%']
  (verdict,) = [line for line in lines if line.startswith('- small is')]
  assert verdict.startswith('- small is 26.0 points worse than reference on 100 images: distinguishable')
  assert 'It reaches 50.0% [' in verdict
  assert '(below 90%) with 0.50 times the MACs and 0.50 times the parameters.' in verdict
  assert 'Not finished: twin-seed0.' in lines
  assert '![' not in text  # the figures are in the report


def test_the_order_and_the_first_are_the_sweeps_own_in_any_report_on_it(tmp_path):
  sweep = make(tmp_path / 'sweep', 'models', (
      ('z-first', WIDE, {'model.stages': 2}, (0,)), ('resnet', WIDE, {}, (0,)), ('a', WIDE, {'model.stages': 3}, (0,))))
  for run, right in zip(sweep.runs, (60, 40, 50), strict=True):
    finish(run, range(right))
  assert [group.label for group in make_groups(collect(f'{tmp_path}/*')[0])[0]] == ['z-first', 'resnet', 'a']
  lines = write_report([f'{tmp_path}/sweep/*-seed0'], tmp_path / 'out')
  assert any(line.startswith('a is 10.0 points worse than z-first') for line in lines)
  finish(make(tmp_path / 'other', 'models', (('b', WIDE, {'model.width': 64}, (0,)),)).runs[0], range(30))
  labels = [group.label for group in make_groups(collect(f'{tmp_path}/*')[0])[0]]
  assert labels == ['WideCNN2', 'WideCNN3', 'WideCNN4', 'WideCNN4 (width=64)']  # runs of two sweeps


def test_where_the_first_is_not_finished_nothing_is_compared(tmp_path):
  sweep = make(tmp_path, 'models', (('a', WIDE, {}, (0,)), ('b', WIDE, {'model.stages': 2}, (0,)),
                                    ('c', WIDE, {'model.stages': 3}, (0,))))
  for run in sweep.runs[1:]:
    finish(run, range(50))
  lines = write_sweep(tmp_path)
  assert 'Nothing is compared: the first run of the sweep is not finished.' in lines
  assert 'Not finished: a-seed0.' in lines


def test_runs_on_other_images_are_refused_and_damaged_ones_are_named(tmp_path):
  sweep = make(tmp_path, 'models', (('first', WIDE, {}, (0,)), ('second', WIDE, {'model.stages': 2}, (0,))))
  for run in sweep.runs:
    finish(run, range(9))
  other = sweep.runs[1].folder.predictions
  one = right_on(range(9))
  Predictions(np.char.add('x', one.example_ids), one.labels, one.logits).save(other)
  with pytest.raises(UserError, match=r'first-seed0 and .*second-seed0 were tested on different images'):
    write_sweep(tmp_path)
  other.write_bytes(b'')
  assert f'  {other.parent}: damaged: predictions.npz cannot be read' in write_sweep(tmp_path)


def test_a_sweep_of_before_schema_2_is_read_by_its_old_name(tmp_path):
  make(tmp_path, 'models', (('b', WIDE, {}, (0,)), ('a', WIDE, {}, (1,))))
  assert read_record(tmp_path).first == 'b'
  (tmp_path / 'sweep.json').rename(tmp_path / 'study.json')
  assert read_record(tmp_path).runs == {'b-seed0': 'b', 'a-seed1': 'a'}
  assert read_record(tmp_path / 'b-seed0') is None

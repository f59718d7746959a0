import json
import re

import numpy as np
import pytest

from mils_jax.metrics import MeanDifference, PairedDifference
from mils_jax.report.groups import difference_of, in_figures, make_groups
from mils_jax.report.read_runs import collect
from mils_jax.report.sections.subset_table import gap_sentence, mean_gap, subset_gaps, subset_series
from tests.report.fakes import add_compression, add_subsets, fake_run


def groups_of(path):
  groups, copies = make_groups(collect(f'{path}/*')[0])
  return {group.label: group for group in groups}, copies


def test_runs_that_differ_in_their_seed_are_one_group(tmp_path):
  for seed, accuracy in enumerate((0.6, 0.64, 0.68)):
    fake_run(tmp_path / f'wide{seed}', accuracy=accuracy, seed=seed, **{'runtime.cache': f'/cache{seed}'})
  fake_run(tmp_path / 'resnet', 'resnet34', 0.62)
  groups, copies = groups_of(tmp_path)
  assert list(groups) == ['ResNet34', 'WideCNN4']
  assert not copies
  wide = groups['WideCNN4']
  assert wide.accuracy.rate == pytest.approx(0.64)
  assert wide.accuracy.count == 450
  assert wide.spread.std == pytest.approx(0.04)
  assert isinstance(wide.against(groups['ResNet34']), MeanDifference)
  assert wide.against(groups['ResNet34']).difference == pytest.approx(0.02)
  assert wide.share_of(groups['ResNet34']).ratio == pytest.approx(0.64 / 0.62)


def test_a_network_with_another_stem_is_no_published_baseline(tmp_path):
  fake_run(tmp_path / 'usual', 'resnet34', 0.5)
  fake_run(tmp_path / 'small', 'resnet34', 0.6, **{'model.small_images': True})
  groups, _ = groups_of(tmp_path)
  assert {label: group.title for label, group in groups.items()} == {
      'ResNet34': 'ResNet34', 'ResNet34 (small_images=True)': 'ResNet34 (small_images=True)'}


def test_the_same_configuration_and_seed_counts_once(tmp_path):
  fake_run(tmp_path / 'a')
  fake_run(tmp_path / 'b')
  groups, (copy,) = groups_of(tmp_path)
  assert len(groups['WideCNN4'].runs) == 1
  assert copy.name.endswith('/b')
  assert 'the same configuration and seed as' in copy.reason


def test_labels_name_network_channels_and_what_is_unusual(tmp_path):
  fake_run(tmp_path / 'a')
  fake_run(tmp_path / 'b', **{'model.width': 64})
  fake_run(tmp_path / 'c', **{'model.dropout': 0.5})
  fake_run(tmp_path / 'd', channels='RB')
  fake_run(tmp_path / 'e', **{'model.stages': 2})
  fake_run(tmp_path / 'f', **{'train.label_smoothing': 0.0})
  assert list(groups_of(tmp_path)[0]) == ['WideCNN2', 'WideCNN4', 'WideCNN4 (model.dropout=0.5)',
                                          'WideCNN4 (train.label_smoothing=0.0)', 'WideCNN4 (width=64)',
                                          'WideCNN4 on RB']


def test_one_model_is_compared_with_the_specialists_of_its_subsets(tmp_path):
  for channels, accuracy in (('RGB', 0.7), ('RG', 0.66), ('B', 0.5)):
    fake_run(tmp_path / channels, 'task_a', accuracy, channels=tuple(channels))
  add_subsets(fake_run(tmp_path / 'all', 'task_a', 0.68, **{'channel_dropout.method': 'hierarchical'}),
              {'RGB': 0.68, 'RG': 0.66, 'B': 0.4, 'R': 0.3}, {})
  groups = list(groups_of(tmp_path)[0].values())
  (one,) = [group for group in groups if 'hierarchical' in group.label]
  gaps = subset_gaps(one, groups)
  assert {''.join(subset): difference_of(*gap).difference for subset, gap in gaps.items()} == pytest.approx(
      {'RGB': -0.02, 'RG': 0, 'B': -0.1})
  assert isinstance(difference_of(*gaps['B',]), PairedDifference)
  assert mean_gap(gaps).difference == pytest.approx(-0.04)
  sentence = gap_sentence(one, gaps).replace('\u00a0', ' ')
  assert sentence.startswith(f'Mean over 3 subsets: {one.label} is 4.0 points worse than specialists on 450 images')
  assert re.search(r'The worst is -10\.0 points \[.*\] with B$', sentence)
  series = subset_series(groups)
  assert [len(found) for found in series.values()] == [3, 4]
  assert series['trained for the subset']['R', 'G'].correct == 297
  assert not subset_gaps(groups[-1], groups)  # was not measured over subsets


def test_a_specialist_is_not_compared_with_itself(tmp_path):
  for channels in ('RGB', 'RG', 'B'):
    folder = fake_run(tmp_path / channels, 'task_a', 0.6, channels=tuple(channels))
    add_subsets(folder, {'RGB': 0.6, 'RG': 0.5, 'B': 0.3}, {})
  groups, _ = groups_of(tmp_path)
  assert set(subset_gaps(groups['DynamicResNet12'], list(groups.values()))) == {('R', 'G'), ('B',)}


def test_runs_with_one_kernel_are_told_apart_by_what_made_them(tmp_path):
  for seed in (0, 1):
    add_compression(fake_run(tmp_path / f'merged{seed}', 'task_a', seed=seed, **{'model.num_kernels': 1}))
  add_compression(fake_run(tmp_path / 'pruned', 'task_a', **{'model.num_kernels': 1}), 'pruned')
  fake_run(tmp_path / 'scratch', 'task_a', **{'model.num_kernels': 1})
  groups, copies = groups_of(tmp_path)
  one = 'DynamicResNet12 (num_kernels=1)'
  assert {label: len(group.runs) for label, group in groups.items()} == {
      one: 1, f'{one}, merged from 4 kernels': 2, f'{one}, pruned from 4 kernels': 1}
  assert not copies


def test_a_compressed_specialist_takes_no_other_ones_place(tmp_path):
  for channels in ('RG', 'B'):
    fake_run(tmp_path / channels, 'task_a', 0.6, channels=tuple(channels), **{'model.num_kernels': 1})
  add_compression(fake_run(tmp_path / 'merged', 'task_a', 0.4, channels=('B',), **{'model.num_kernels': 1}))
  series = subset_series(list(groups_of(tmp_path)[0].values()))
  assert [{''.join(subset): found.correct for subset, found in one.items()} for one in series.values()] == [
      {'B': 270, 'RG': 270}, {'B': 180}]


def test_the_predictions_of_all_seeds_of_the_one_model_count(tmp_path):
  for channels, accuracy in (('RG', 0.66), ('B', 0.5)):
    fake_run(tmp_path / channels, 'task_a', accuracy, channels=tuple(channels))
  for seed, accuracy in enumerate((0.4, 0.48)):
    folder = fake_run(tmp_path / f'all{seed}', 'task_a', seed=seed, **{'channel_dropout.method': 'hierarchical'})
    add_subsets(folder, {'RG': 0.6 + 0.02 * seed, 'B': accuracy}, {})
  found, _ = groups_of(tmp_path)
  one, groups = found['DynamicResNet12'], list(found.values())
  gaps = subset_gaps(one, groups)
  assert {''.join(subset): difference_of(*gap).difference for subset, gap in gaps.items()} == pytest.approx(
      {'RG': -0.05, 'B': -0.06})
  assert isinstance(difference_of(*gaps['B',]), MeanDifference)
  assert mean_gap(gaps).difference == pytest.approx(-0.055)
  assert subset_series(groups)['one model for all']['B',].correct == 198


def test_subsets_are_named_in_the_order_of_the_data_whatever_that_of_the_input_channels(tmp_path):
  for channels in ('RG', 'B'):
    fake_run(tmp_path / channels, 'task_a', channels=tuple(channels))
  one = fake_run(tmp_path / 'all', 'task_a', **{'channel_dropout.method': 'hierarchical'})
  add_subsets(one, {'RG': 0.6, 'B': 0.4}, {})
  for path in tmp_path.glob('*/results.json'):
    path.write_text(json.dumps({**json.loads(path.read_text()), 'input_channels': ['B', 'G', 'R']}))
  found, _ = groups_of(tmp_path)
  one, groups = found['DynamicResNet12'], list(found.values())
  assert set(subset_gaps(one, groups)) == {('R', 'G'), ('B',)}


def test_groups_are_shared_out_evenly_over_figures():
  assert [len(part) for part in in_figures([object() for _ in range(13)])] == [5, 4, 4]
  assert [len(part) for part in in_figures([object() for _ in range(6)])] == [6]
  assert not isinstance(in_figures([object()])[0], np.ndarray)

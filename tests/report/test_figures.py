"""What figures show, and that each can be read by those who do not see it."""

import dataclasses
import re
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mils_jax.metrics import Accuracy, PairedDifference
from mils_jax.report.figure_style import looks
from mils_jax.report.groups import make_groups
from mils_jax.report.read_runs import collect
from mils_jax.report.sections.channel_importance import channel_importance
from mils_jax.report.sections.confusion import accuracy_by_class, confusion_matrix, most_confused
from mils_jax.report.sections.curves import training_curves
from mils_jax.report.sections.kernel_attention import attention
from mils_jax.report.sections.model_table import accuracy_by_cost, front
from mils_jax.report.sections.reliability import reliability
from mils_jax.report.sections.subset_table import LISTED, accuracy_by_subset
from tests.report.fakes import fake_run


@pytest.fixture(scope='module')
def groups(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs')
  fake_run(folder / 'wide', accuracy=0.7, names=['a', 'b', 'c', 'd', 'x < y & "z"'])
  fake_run(folder / 'resnet', 'resnet34', 0.6, names=['a', 'b', 'c', 'd', 'x < y & "z"'])
  return make_groups(collect(f'{folder}/*')[0])[0]


def subsets(count):
  channels = [f'band{number}' for number in range(7)]
  chosen = [tuple(channel for bit, channel in enumerate(channels) if number >> bit & 1)
            for number in range(1, count + 1)]
  return {subset: Accuracy(50 + 5 * len(subset), 100) for subset in chosen}, tuple(channels)


def attention_json(name):
  return {'channels': [name], 'layers': [{'layer': f'conv{number}', 'mean_attention': [0.4, 0.2, 0.2, 0.2]}
                                         for number in range(3)]}


FIGURES = {
    'macs': (lambda groups: accuracy_by_cost(groups, 'macs'), ['MACs', 'accuracy, %', 'ResNet34']),
    'parameters': (lambda groups: accuracy_by_cost(groups, 'parameters'), ['parameters', 'accuracy, %']),
    'accuracy': (lambda groups: training_curves(groups, 'accuracy', '0'), ['epoch', 'accuracy, %']),
    'loss': (lambda groups: training_curves(groups, 'loss', '0'), ['epoch', 'nats']),
    'confusion': (lambda groups: confusion_matrix(groups[0], '1'), ['true class', 'predicted class', '%']),
    'classes': (lambda groups: accuracy_by_class(groups[0], '1'), ['accuracy, %']),
    'reliability': (lambda groups: reliability(groups, '0'), ['probability', '%']),
    'subsets': (lambda _: accuracy_by_subset({'one': subsets(7)[0]}, subsets(7)[1], '0'),
                ['accuracy, %', 'band0+band1']),
    'many subsets': (lambda _: accuracy_by_subset({'one': subsets(127)[0]}, subsets(127)[1], '0'),
                     ['number of channels', 'accuracy, %']),
    'importance': (lambda _: channel_importance('one', {'R': PairedDifference(50, 20, 2, 28)}, '0'), ['points', 'R']),
    'attention': (lambda _: attention('one', [attention_json(name) for name in 'RGBXYZ'], '0'), ['kernel', 'conv2']),
}


@pytest.mark.parametrize('name', FIGURES)
def test_a_figure_is_whole_named_and_the_same_each_time(name, groups):
  draw, expected = FIGURES[name]
  figure = draw(groups)
  ElementTree.fromstring(figure.svg)  # raises where a class's name was not escaped
  texts = ' '.join(re.findall(r'<text[^>]*>([^<]*)</text>', figure.svg))
  for word in expected:
    assert word in texts, (word, texts)
  assert len(figure.caption) > 40
  assert len(figure.alternative) > 20
  assert 'var(--ink)' in figure.svg
  assert not re.search('#(010203|040506|000000)', figure.svg)  # nothing that is lost on dark paper
  assert figure.svg == draw(groups).svg


def test_names_with_dollar_signs_underscores_or_other_letters_are_drawn_as_they_are(tmp_path):
  names = ['cash $1 or $2$', r'$\frac{$', '_under_', '\u65e5\u672c', 'e']
  fake_run(tmp_path / 'run', names=names, **{'model.width': 64})
  (group,), _ = make_groups(collect(f'{tmp_path}/*')[0])
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    figures = [confusion_matrix(group, '1'), accuracy_by_class(group, '1')]
  for figure in figures:
    found = ElementTree.fromstring(figure.svg).iter('{http://www.w3.org/2000/svg}text')
    texts = [''.join(text.itertext()) for text in found]
    assert set(names) <= set(texts)


def test_the_front_is_what_nothing_dominates():
  costs, rates = [4, 1, 3, 2, 1], [0.9, 0.5, 0.6, 0.7, 0.4]
  dominated = [any(other != one and costs[other] <= costs[one] and rates[other] >= rates[one] for other in range(5))
               for one in range(5)]
  assert sorted(front(costs, rates)) == [one for one in range(5) if not dominated[one]] == [0, 1, 3]
  assert front([1, 1], [0.5, 0.5]) == [0]


def test_the_axis_of_costs_has_numbers_even_where_all_cost_nearly_the_same(groups):
  for macs in ((1_061_000, 1_194_000), (1_000_000, 1_000_001), (64_939_008, 74_811_392)):
    near = [dataclasses.replace(group, runs=tuple(
        dataclasses.replace(run, results={**run.results, 'macs': cost}) for run in group.runs))
            for group, cost in zip(groups, macs, strict=True)]
    assert len(re.findall(r'>[\d.]+\u00a0[kMG]<', accuracy_by_cost(near, 'macs').svg)) >= 2, macs


def test_models_of_equal_cost_stand_side_by_side(tmp_path):
  for dropout in (0.0, 0.1, 0.2):
    fake_run(tmp_path / f'wide{dropout}', accuracy=0.7, **{'model.dropout': dropout})
  equal = make_groups(collect(f'{tmp_path}/*')[0])[0]
  figure = accuracy_by_cost(equal, 'macs')
  assert 'models of equal cost stand side by side' in figure.caption
  marks = re.findall(r'<use xlink:href="#m\w+" x="([\d.]+)" y="[\d.]+" style="fill: (?:var\(--blue\)|#d55e00|#009e73)',
                     figure.svg)
  assert len(set(marks)) >= 3


def test_the_most_confused_pairs_come_first(groups):
  pairs = most_confused(groups[0])
  confusion = groups[0].scores.confusion
  shares = confusion / confusion.sum(axis=1, keepdims=True)
  assert [share for *_, share in pairs] == sorted((share for *_, share in pairs), reverse=True)
  assert all(true != other and share == pytest.approx(shares[true, other]) for true, other, share in pairs)
  assert pairs[0][2] == pytest.approx((shares - np.diag(shares.diagonal())).max())


def test_few_subsets_are_drawn_one_by_one_and_many_by_size():
  few, channels = subsets(LISTED)
  assert 'band0+band1' in accuracy_by_subset({'one': few}, channels, '0').svg
  many, channels = subsets(LISTED + 1)
  assert 'band0+band1' not in accuracy_by_subset({'one': many}, channels, '0').svg


def test_no_line_is_drawn_over_a_number_of_channels_that_was_not_tried():
  many, channels = subsets(60)
  colour = looks(2)[1][0]
  for sizes, lines in (((1, 2, 3), 8), ((1, 3), 2)):  # mean and worst, from 1 to 2 to 3; two for each in the legend
    some = {subset: accuracy for subset, accuracy in many.items() if len(subset) in sizes}
    svg = accuracy_by_subset({'all': many, 'some': some}, channels, '0').svg
    drawn = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke[^"]*: {colour}', svg, re.IGNORECASE)
    assert sum(path.count('L') for path in drawn) == lines


def test_a_channel_is_called_distinguishable_only_by_holm_too():
  small = PairedDifference(60, 9, 1, 30)
  found = {'R': PairedDifference(50, 30, 2, 18), 'G': small, 'B': small}
  assert small.distinguishable  # by itself: p = 0.02; as one of the last two 0.04, of three 0.06
  assert 'all channels): R, G, B.' in channel_importance('one', found, '0').caption
  assert 'all channels): R.' in channel_importance('one', {**found, 'X': small}, '0').caption


def test_of_many_subsets_the_attention_of_the_full_set_is_drawn_too():
  names = [f'band{number}' for number in range(10)]
  svg = attention('one', [attention_json(name) for name in [*names, 'everything']], '0').svg
  assert re.findall(r'>(band\d|everything)<', svg) == [*names[:7], 'everything']

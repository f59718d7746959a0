import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from mils_jax.commands.diagnose import (
  Change,
  DiagnosticReport,
  LayerDiagnosis,
  SubsetDiagnosis,
  diagnose,
  diagnostic_lines,
  open_attention,
)
from mils_jax.data.loader import place_split
from mils_jax.errors import UserError
from mils_jax.metrics.attention import attention_layers, entropy, replaced_attention
from mils_jax.models import DynamicResNet12
from mils_jax.run_config import saved_config
from mils_jax.training.run_folder import RunFolder

TEMPERATURE = 0.02
LAYERS = ['stem_conv', 'stage1_block1/conv1', 'stage1_block1/conv2', 'stage1_block1/shortcut_conv']


def opened(path):
  folder = RunFolder(path)
  return saved_config(folder), folder


def test_layers_come_in_the_order_of_the_computation():
  model = DynamicResNet12(5, widths=(8,), blocks=1, stem_width=8, num_kernels=3)
  assert list(attention_layers(model, (16, 16)).items()) == [(name, 3) for name in LAYERS]
  assert attention_layers(model.clone(num_kernels=1), (16, 16)) == {}


def test_entropies_are_scipys_and_nothing_weighs_nothing():
  weights = softmax(np.random.default_rng(0).normal(size=(5, 4)) * 3, axis=1)
  np.testing.assert_allclose(entropy(weights), stats.entropy(weights, axis=1), rtol=1e-12)
  np.testing.assert_array_equal(entropy(np.eye(3)), 0)


@pytest.fixture(scope='module')
def sharp(small_runs):
  """A run whose attention is far from uniform and differs between images, by its temperature."""
  run, reader = open_attention(*opened(small_runs['dynamic_resnet12']))
  variables = {**run.restored.variables, 'schedules': {'temperature': np.float32(TEMPERATURE)}}
  return dataclasses.replace(run, restored=dataclasses.replace(run.restored, variables=variables),
                             variables=run.devices.replicate(variables)), reader


@pytest.fixture(scope='module')
def report(sharp):
  return diagnose(*sharp)


def test_the_stems_attention_is_what_numpy_makes_of_the_stored_images(sharp, report):
  run, _ = sharp
  split, spec = run.data.splits['test'], run.restored.spec.channels
  weights = run.restored.variables['params']['stem_conv']['attention']
  subsets = report.to_json()['subsets']
  assert [subset['channels'] for subset in subsets] == [
      ['R'], ['G'], ['B'], ['R', 'G'], ['R', 'B'], ['G', 'B'], ['R', 'G', 'B']]
  for place, present in ((-1, [1, 1, 1]), (4, [1, 0, 1])):
    images = (np.asarray(split.images, np.float64) - spec.mean) / spec.std * present
    hidden = np.maximum(images.mean(axis=(1, 2)) @ weights['squeeze']['kernel'], 0)
    attention = softmax(hidden @ weights['expand']['kernel'] / TEMPERATURE, axis=1)  # (41, K): the last batch is padded
    stem = subsets[place]['layers'][0]
    np.testing.assert_allclose(stem['mean_attention'], attention.mean(axis=0), atol=1e-4)
    assert stem['entropy_of_mean'] == pytest.approx(stats.entropy(attention.mean(axis=0)), abs=1e-4)
    assert stem['mean_entropy'] == pytest.approx(stats.entropy(attention, axis=1).mean(), abs=1e-4)
    assert stem['spread'] == pytest.approx(attention.std(axis=0).max(), abs=1e-4)
    assert stem['spread'] > 0.05
  assert [layer['layer'] for layer in subsets[0]['layers']] == LAYERS
  assert report.count == 41


def test_the_change_when_frozen_is_that_of_a_network_whose_attention_is_replaced(sharp, report):
  run, _ = sharp
  images, present = run.fitting.mapping.apply(jnp.asarray(run.data.splits['test'].images))
  means = {layer.layer: jnp.float32(layer.mean) for layer in report.full.layers}

  @jax.jit
  def logits(frozen):
    with replaced_attention(lambda name, own: jnp.where(frozen[LAYERS.index(name)], means[name], own)):
      return run.restored.model.apply(run.restored.variables, images, train=False, present=present)

  before = logits(jnp.zeros(4, bool))
  changes = [layer.frozen for layer in report.full.layers]
  for frozen, found in zip([*np.eye(4), np.ones(4)], [*changes, report.full.all_frozen], strict=True):
    after = logits(jnp.array(frozen, bool))
    expected = float(jnp.sqrt(jnp.mean((after - before) ** 2)) / jnp.std(before))
    assert found.logits == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert found.classes == (after.argmax(axis=1) != before.argmax(axis=1)).sum()
  assert changes[0].logits > 0.01
  assert max(change.logits for change in changes[1:]) > 0.01


def test_padding_does_not_count_in_the_mean(sharp, report):
  run, reader = sharp
  mean = reader.mean(run.variables, 41, place_split(run.data.splits['test'], run.devices, 'host'), 'test')
  np.testing.assert_allclose(mean, [layer.mean for layer in report.full.layers], atol=1e-6)


def test_a_change_is_counted_against_the_logits_deviation():
  before = np.array([[0.0, 2], [4, 2], [0, 4]], np.float32)
  change = Change.of(before, before + np.array([[3.0, 0], [0, 0], [0, 0]], np.float32))
  assert (change.classes, change.count) == (1, 3)
  assert change.logits == pytest.approx(np.sqrt(9 / 6) / before.std())


@pytest.mark.parametrize(('attention', 'way'), [
    (np.full((9, 4), 0.25), 'near-uniform'),
    (np.tile([0.7, 0.1, 0.1, 0.1], (9, 1)), 'fixed mixture'),
    (np.tile([0.997, 0.001, 0.001, 0.001], (9, 1)), 'collapsed'),
    (np.eye(4)[np.arange(8) % 4], ''),  # uniform on average only
])
def test_kernels_used_as_one_are_told(attention, way):
  assert LayerDiagnosis.of('stem', attention, Change(0.0, 0, 9)).used_as_one == way


def test_the_lines_name_layers_thresholds_and_the_file(tmp_path):
  frozen = Change(0.25, 3, 9)
  layers = (LayerDiagnosis.of('stem', np.full((9, 4), 0.25), frozen),
            LayerDiagnosis.of('conv', np.eye(4)[np.arange(9) % 4], frozen))
  text = '\n'.join(diagnostic_lines(DiagnosticReport(4, 9, (SubsetDiagnosis(('R',), layers, frozen),)), tmp_path))
  row = r'stem +\| +0.250 0.250 0.250 0.250 \| +100.0% \| +100.0% \| +0.0000 \| +25.00% \| +3 of 9 \| near-uniform'
  assert re.search(row, text)
  assert '1 of 2 layers use their kernels as one (1 near-uniform).\nNear-uniform: entropy' in text
  assert 'above 99% of log K, spread below 0.01' in text
  assert str(tmp_path / 'diagnostics.json') in text


def test_a_network_without_attention_is_refused(small_runs):
  with pytest.raises(UserError, match=r'no dynamic convolutions: model.name=wide_cnn\. Expected a run of dynamic'):
    open_attention(*opened(small_runs['wide_cnn']))


def test_reading_some_rows_gives_theirs_in_the_order_asked_for(sharp):
  run, reader = sharp
  batches = place_split(run.data.splits['test'], run.devices, 'device')
  rows = np.array([5, 40, 7], np.int32)
  ((logits, attention),) = reader(run.variables, rows, batches)
  whole = list(reader(run.variables, np.arange(41, dtype=np.int32), batches))
  assert [len(part) for part, _ in whole] == [20, 20, 1]
  np.testing.assert_allclose(logits, np.concatenate([part for part, _ in whole])[rows], atol=1e-5)
  np.testing.assert_allclose(attention, np.concatenate([part for _, part in whole])[rows], atol=1e-5)

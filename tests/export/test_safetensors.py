import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mils_jax.errors import UserError
from mils_jax.export import safetensors
from mils_jax.export.compare import Comparison
from mils_jax.export.function import ExportedModel
from mils_jax.export.sidecar import write_sidecar
from mils_jax.restore import restore
from mils_jax.training.run_folder import RunFolder


@pytest.fixture(scope='module')
def model(small_runs):
  return ExportedModel(restore(RunFolder(small_runs['wide_cnn'])))


def test_the_arrays_are_written_by_the_names_and_in_the_layout_of_pytorch(model, tmp_path):
  logits = safetensors.write(model, tmp_path)
  arrays, params = load_file(tmp_path / 'model.safetensors'), model.restored.variables['params']
  kernel = np.asarray(params['stage1']['conv']['kernel'])  # (7, 7, 3, 16)
  np.testing.assert_array_equal(arrays['stages.0.conv.weight'], kernel.transpose(3, 2, 0, 1))
  np.testing.assert_array_equal(arrays['classifier.weight'], np.asarray(params['classifier']['kernel']).T)
  assert {'stages.1.norm.running_var', 'stages.0.shortcut.0.weight', 'stages.1.gate.excite.weight'} <= arrays.keys()
  images, present = np.full((2, 16, 16, 3), 100, np.float32), np.ones((2, 3), bool)
  np.testing.assert_array_equal(logits(images, present), jax.jit(model.function())(images, present))


def test_it_states_the_number_of_logits_where_they_are_more_than_the_classes(model, tmp_path):
  safetensors.write(model, tmp_path)
  write_sidecar(tmp_path, model, 'safetensors', ('safetensors',), Comparison('drawn', (('R',),), 0.0, 0.0).to_json())
  values = json.loads((tmp_path / 'export.json').read_text())
  assert values['num_logits'] == 23 == len(load_file(tmp_path / 'model.safetensors')['classifier.weight'])
  assert len(values['classes']) == 20
  assert 'num_logits' in values['output']['logits']


def test_the_temperature_of_attention_is_told_and_is_no_array(small_runs, tmp_path):
  model = ExportedModel(restore(RunFolder(small_runs['dynamic_resnet12'])))
  safetensors.write(model, tmp_path)
  write_sidecar(tmp_path, model, 'safetensors', ('safetensors',), {})
  temperature = float(model.restored.variables['schedules']['temperature'])
  assert 0.5 < temperature < 30
  assert json.loads((tmp_path / 'export.json').read_text())['schedules'] == {'temperature': temperature}
  assert [name for name in load_file(tmp_path / 'model.safetensors') if 'temperature' in name] == []


@pytest.mark.parametrize(('field', 'value'), [
    ('rescale', True), ('imputation', 'learned'), ('conditioning', 'presence'), ('imputation', 'mlp')])
def test_what_no_plain_network_computes_is_refused(model, field, value, tmp_path):
  config = model.restored.config
  other = dataclasses.replace(config, model=dataclasses.replace(config.model, **{field: value}))
  changed = ExportedModel(dataclasses.replace(model.restored, config=other))
  with pytest.raises(UserError, match=rf'model\.{field} is {value}. Valid here: stablehlo, onnx, hub'):
    safetensors.write(changed, tmp_path)
  assert list(tmp_path.iterdir()) == []

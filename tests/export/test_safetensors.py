import sys

import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors import safe_open

from mils_jax.errors import UserError
from mils_jax.export import safetensors
from mils_jax.export.function import ExportedModel
from mils_jax.restore import restore
from mils_jax.training.record import by_path
from mils_jax.training.run_folder import RunFolder


@pytest.fixture(scope='module')
def model(small_runs):
  return ExportedModel(restore(RunFolder(small_runs['wide_cnn'])))


class StandIn:
  """Names that differ and axes that are turned, for the last layer; everything else keeps its name."""

  @staticmethod
  def to_torch(network, variables):
    assert network.num_classes == 23
    arrays = by_path(variables)
    kernel = arrays.pop('params/classifier/kernel')
    return {**arrays, 'fc.weight': kernel.T}

  @staticmethod
  def from_torch(network, arrays):
    arrays = dict(arrays)
    kernel = arrays.pop('fc.weight').T
    return traverse_util.unflatten_dict({**arrays, 'params/classifier/kernel': kernel}, sep='/')


def test_the_arrays_are_written_by_the_names_that_they_have_in_pytorch(model, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'mils_jax.models.torch_names', StandIn)
  safetensors.check()
  logits = safetensors.write(model, tmp_path)
  kernel = model.restored.variables['params']['classifier']['kernel']
  with safe_open(tmp_path / 'model.safetensors', 'np') as file:
    assert file.metadata() == {'format': 'pt'}
    np.testing.assert_array_equal(file.get_tensor('fc.weight'), kernel.T)
    assert 'params/classifier/kernel' not in file.keys()  # noqa: SIM118  it is no dict
  images, present = np.full((2, 16, 16, 3), 100, np.float32), np.ones((2, 3), bool)
  np.testing.assert_array_equal(logits(images, present), jax.jit(model.function())(images, present))


def test_without_the_names_the_format_is_refused(monkeypatch):
  monkeypatch.setitem(sys.modules, 'mils_jax.models.torch_names', None)
  with pytest.raises(UserError, match='knows no names of PyTorch'):
    safetensors.check()

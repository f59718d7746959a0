import numpy as np
import pytest

pytest.importorskip('jax2onnx', reason='the extra onnx and jax2onnx are not installed')
import onnx as onnx_package

from mils_jax.export import onnx
from mils_jax.export.compare import compare
from mils_jax.export.function import ExportedModel
from mils_jax.restore import restore
from mils_jax.training.run_folder import RunFolder
from tests.export.models import NARROW, OPTIONS, drawn_images, drawn_model


def test_the_graph_has_named_ends_and_any_batch_size(small_runs, tmp_path):
  model = ExportedModel(restore(RunFolder(small_runs['dynamic_resnet12'])))
  logits = onnx.write(model, tmp_path)
  graph = onnx_package.load(tmp_path / 'model.onnx').graph
  ends = {one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim]
          for one in (*graph.input, *graph.output)}
  assert ends == {'images': ['batch', 16, 16, 3], 'present': ['batch', 3], 'logits': ['batch', 20]}
  images, present = np.full((3, 16, 16, 3), 100, np.float32), np.ones((3, 3), bool)
  expected = model.function()(images, present)
  for batch in (1, 3):
    np.testing.assert_allclose(logits(images[:batch], present[:batch]), expected[:batch], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('network', NARROW)
def test_every_network_and_option_gives_the_same_logits(network, options, tmp_path):
  model = drawn_model(network, options)
  assert compare(model, onnx.write(model, tmp_path), drawn_images()).relative < 2e-5

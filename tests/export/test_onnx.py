import pytest

pytest.importorskip('jax2onnx', reason='the extra onnx and jax2onnx are not installed')
import onnx as onnx_package

from mils_jax.export import onnx
from mils_jax.export.function import ExportedModel
from mils_jax.restore import restore
from mils_jax.training.run_folder import RunFolder
from tests.export.models import check_any_batch_size


def test_the_graph_has_named_ends_and_any_batch_size(small_runs, tmp_path):
  model = ExportedModel(restore(RunFolder(small_runs['dynamic_resnet12'])))
  logits = onnx.write(model, tmp_path)
  graph = onnx_package.load(tmp_path / 'model.onnx').graph
  ends = {one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim]
          for one in (*graph.input, *graph.output)}
  assert ends == {'images': ['batch', 16, 16, 3], 'present': ['batch', 3], 'logits': ['batch', 20]}
  check_any_batch_size(model, logits)

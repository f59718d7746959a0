import pytest

pytest.importorskip('flatbuffers', reason='flatbuffers is not installed')
from jax import export

from mils_jax.export import stablehlo
from mils_jax.export.function import ExportedModel
from mils_jax.restore import restore
from mils_jax.training.run_folder import RunFolder
from tests.export.models import check_any_batch_size


def test_one_file_serves_every_platform_and_batch_size(small_runs, tmp_path):
  model = ExportedModel(restore(RunFolder(small_runs['wide_cnn'])))
  logits = stablehlo.write(model, tmp_path)
  (file,) = tmp_path.iterdir()
  read = export.deserialize(bytearray(file.read_bytes()))
  assert read.platforms == ('cpu', 'cuda', 'tpu')
  assert 'HIGHEST' in read.mlir_module()  # else GPUs and TPUs round matrix products
  assert 'DEFAULT' not in read.mlir_module()
  assert [str(one.shape[0]) for one in read.in_avals] == ['batch', 'batch']
  check_any_batch_size(model, logits)

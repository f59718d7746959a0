import numpy as np
import pytest

pytest.importorskip('flatbuffers', reason='flatbuffers is not installed')
from jax import export

from mils_jax.export import stablehlo
from mils_jax.export.compare import compare
from mils_jax.export.function import ExportedModel
from mils_jax.restore import restore
from mils_jax.training.run_folder import RunFolder
from tests.export.models import NARROW, OPTIONS, drawn_images, drawn_model


def test_one_file_serves_every_platform_and_batch_size(small_runs, tmp_path):
  model = ExportedModel(restore(RunFolder(small_runs['wide_cnn'])))
  logits = stablehlo.write(model, tmp_path)
  (file,) = tmp_path.iterdir()
  read = export.deserialize(bytearray(file.read_bytes()))
  assert read.platforms == ('cpu', 'cuda', 'tpu')
  assert 'HIGHEST' in read.mlir_module()  # else GPUs and TPUs round matrix products
  assert 'DEFAULT' not in read.mlir_module()
  assert [str(one.shape[0]) for one in read.in_avals] == ['batch', 'batch']
  images, present = np.full((3, 16, 16, 3), 100, np.float32), np.ones((3, 3), bool)
  expected = model.function()(images, present)
  for batch in (1, 3):
    np.testing.assert_allclose(logits(images[:batch], present[:batch]), expected[:batch], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('network', NARROW)
def test_every_network_and_option_gives_the_same_logits(network, options, tmp_path):
  model = drawn_model(network, options)
  assert compare(model, stablehlo.write(model, tmp_path), drawn_images()).relative < 2e-5

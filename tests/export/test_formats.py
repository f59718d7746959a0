import pytest

from mils_jax.errors import UserError
from mils_jax.export.compare import compare
from mils_jax.export.formats import FORMATS, find_format
from tests.export.models import NARROW, OPTIONS, drawn_images, drawn_model


@pytest.mark.parametrize('name', FORMATS)
def test_every_format_keeps_the_contract(name):
  if name == 'onnx':
    pytest.importorskip('jax2onnx', reason='the extra onnx and jax2onnx are not installed')
  kind = find_format(name)
  assert callable(kind.write)
  assert isinstance(kind.PACKAGES, tuple)


def test_an_unknown_format_is_told_with_the_nearest():
  with pytest.raises(UserError, match=r"^unknown --format 'onxn'. Did you mean 'onnx'\? Valid: stablehlo, onnx, "):
    find_format('onxn')


@pytest.mark.slow
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('network', NARROW)
@pytest.mark.parametrize(('name', 'package'), [('stablehlo', 'flatbuffers'), ('onnx', 'jax2onnx')])
def test_every_network_and_option_gives_the_same_logits(name, package, network, options, tmp_path):
  pytest.importorskip(package, reason=f'{package} is not installed')
  model = drawn_model(network, options)
  assert compare(model, find_format(name).write(model, tmp_path), drawn_images()).relative < 2e-5

import pytest

from mils_jax.errors import UserError
from mils_jax.export.formats import FORMATS, find_format


@pytest.mark.parametrize('name', FORMATS)
def test_every_format_keeps_the_contract(name):
  kind = find_format(name)
  assert all(callable(getattr(kind, function)) for function in ('check', 'write', 'packages'))


def test_an_unknown_format_is_told_with_the_nearest():
  with pytest.raises(UserError, match=r"^unknown --format 'onxn'. Did you mean 'onnx'\? Valid: stablehlo, onnx, "):
    find_format('onxn')

"""Files of weights: what they hold, and what is refused without running anything in them."""

import argparse
import os
import pickle
import sys
import warnings

import numpy as np
import pytest
import safetensors.numpy

from mils_jax.errors import UserError
from mils_jax.training.weight_files import is_weight_file, read_weight_file

WEIGHTS = {'conv.weight': np.arange(6, dtype=np.float32).reshape(2, 3), 'conv.bias': np.array([0.5, -1], np.float32)}


def saved(path, arrays=None):
  safetensors.numpy.save_file(WEIGHTS if arrays is None else arrays, path)
  return str(path)


def assert_weights(found):
  assert found.keys() == WEIGHTS.keys()
  for name, array in found.items():
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, WEIGHTS[name])


class Bomb:
  def __reduce__(self):
    return os.mkdir, ('ran',)


def test_safetensors_are_read(tmp_path):
  found, notes = read_weight_file(saved(tmp_path / 'x.safetensors'))
  assert_weights(found)
  assert notes == []


@pytest.mark.parametrize('dtype', ['float16', 'float64', 'bfloat16'])
def test_other_floating_point_numbers_become_float32(dtype, tmp_path):
  import jax.numpy as jnp
  arrays = {name: array.astype(jnp.dtype(dtype)) for name, array in WEIGHTS.items()}
  assert_weights(read_weight_file(saved(tmp_path / 'x.safetensors', arrays))[0])


def test_the_prefix_of_data_parallel_is_left_out_and_counters_too(tmp_path):
  arrays = {f'module.{name}': array for name, array in WEIGHTS.items()}
  arrays['module.norm.num_batches_tracked'] = np.array(3)
  found, notes = read_weight_file(saved(tmp_path / 'x.safetensors', arrays))
  assert_weights(found)
  assert notes == ["its names begin with 'module.', which is left out"]


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('none.safetensors', None, 'none.safetensors cannot be read: No such file or directory'),
    ('none.pth', None, 'none.pth cannot be read: No such file or directory'),
    ('empty.safetensors', b'', 'cannot be read as safetensors'),
    ('noise.safetensors', bytes(range(256)), 'cannot be read as safetensors'),
    ('other.bin', b'x', 'is no run folder and no file of weights. Valid: .safetensors, .pth, .pt'),
])
def test_what_is_no_file_of_weights_is_refused_in_one_line(name, content, message, tmp_path):
  if content is not None:
    (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError) as caught:
    read_weight_file(str(tmp_path / name))
  assert message in str(caught.value)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.99])
def test_a_truncated_safetensors_file_is_refused(share, tmp_path):
  path = tmp_path / 'x.safetensors'
  whole = (saved(path), path.read_bytes())[1]
  path.write_bytes(whole[:int(share * len(whole))])
  with pytest.raises(UserError, match=r'x\.safetensors: cannot be read as safetensors \(.*header'):
    read_weight_file(str(path))


@pytest.mark.parametrize(('arrays', 'message'), [
    ({}, 'holds no weights'),
    ({'a.num_batches_tracked': np.array(3)}, 'holds no weights'),
    ({'a': np.ones(2, np.int8)}, ': a is int8; expected floating point numbers'),
    ({'a': np.array([1, np.nan], np.float32)}, ': a has NaN or Inf'),
])
def test_arrays_that_are_no_weights_are_refused(arrays, message, tmp_path):
  with pytest.raises(UserError, match=message):
    read_weight_file(saved(tmp_path / 'x.safetensors', arrays))


def test_a_folder_and_a_file_are_told_apart(tmp_path):
  (tmp_path / 'run.pth').mkdir()
  (tmp_path / 'weights.bin').touch()
  found = {name: is_weight_file(str(tmp_path / name)) for name in ('run.pth', 'weights.bin', 'no.pt', 'no')}
  assert found == {'run.pth': False, 'weights.bin': True, 'no.pt': True, 'no': False}


def test_without_pytorch_a_pth_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  (tmp_path / 'x.pth').touch()
  with pytest.raises(UserError, match=r"x\.pth needs torch; pip install .*\[torch\]', or save it as \.safetensors"):
    read_weight_file(str(tmp_path / 'x.pth'))


def test_a_pytorch_that_may_run_code_of_a_file_is_refused(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', argparse.Namespace(__version__='2.5.1+cpu'))
  (tmp_path / 'x.pth').touch()
  with pytest.raises(UserError, match=r'PyTorch 2\.5\.1\+cpu may run code .* expected 2\.6 or later'):
    read_weight_file(str(tmp_path / 'x.pth'))


@pytest.fixture(scope='module')
def torch():
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', DeprecationWarning)  # of PyTorch's own, at import
    return pytest.importorskip('torch', reason='PyTorch writes these files')


def tensors(torch):
  return {name: torch.from_numpy(array.copy()) for name, array in WEIGHTS.items()}


@pytest.mark.parametrize('zipped', [True, False])
def test_a_state_dict_is_read(torch, zipped, tmp_path):
  counter = {'norm.num_batches_tracked': torch.tensor(7)}
  torch.save(tensors(torch) | counter, tmp_path / 'x.pt', _use_new_zipfile_serialization=zipped)
  found, notes = read_weight_file(str(tmp_path / 'x.pt'))
  assert_weights(found)
  assert notes == []


@pytest.mark.parametrize('wrapper', ['state_dict', 'model'])
def test_the_weights_of_a_checkpoint_are_found(torch, wrapper, tmp_path):
  wrapped = {f'module.{name}': tensor.half() for name, tensor in tensors(torch).items()}
  torch.save({wrapper: wrapped, 'epoch': 3, 'args': argparse.Namespace(lr=0.1)}, tmp_path / 'x.pth')
  found, notes = read_weight_file(str(tmp_path / 'x.pth'))
  assert_weights(found)
  assert notes[0] == f"its weights are those under '{wrapper}'"
  assert notes[1].startswith("its names begin with 'module.'")


@pytest.mark.parametrize('zipped', [True, False])
def test_code_in_a_pickle_is_never_run(torch, zipped, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  torch.save({'state_dict': tensors(torch), 'more': Bomb()}, 'x.pth', _use_new_zipfile_serialization=zipped)
  with pytest.raises(UserError, match=r'x\.pth: holds \w+\.mkdir, which only running its code would load; expected'):
    read_weight_file('x.pth')
  (tmp_path / 'x.pth').write_bytes(pickle.dumps(Bomb()))
  with pytest.raises(UserError, match=r"x\.pth: cannot be read as PyTorch's weights \(Unsupported operand \d+\)"):
    read_weight_file('x.pth')
  assert not (tmp_path / 'ran').exists()


def test_a_whole_module_is_refused(torch, tmp_path):
  torch.save(torch.nn.Linear(2, 3), tmp_path / 'x.pth')
  with pytest.raises(UserError, match=r'holds torch\.nn\.modules\.linear\.Linear, .*state_dict\(\), FILE\) writes'):
    read_weight_file(str(tmp_path / 'x.pth'))


@pytest.mark.parametrize('zipped', [True, False])
def test_a_truncated_file_is_refused_in_one_line(torch, zipped, tmp_path):
  path = tmp_path / 'x.pth'
  torch.save(tensors(torch), path, _use_new_zipfile_serialization=zipped)
  whole = path.read_bytes()
  for share in (0, 0.1, 0.5, 0.9):
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(UserError, match=r"x\.pth: cannot be read as PyTorch's weights \(.+\)$") as caught:
      read_weight_file(str(path))
    assert '\n' not in str(caught.value)


def test_what_is_no_dictionary_of_arrays_is_refused(torch, tmp_path):
  for content in ([1, 2], {'lr': 0.1}, {'model': {'lr': 0.1}}):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(UserError, match="expected a state dict, alone or under 'state_dict' or 'model'"):
      read_weight_file(str(tmp_path / 'x.pth'))
  torch.save({'a': torch.ones(2).to_sparse()}, tmp_path / 'x.pth')
  with pytest.raises(UserError, match='a is no plain array'):
    read_weight_file(str(tmp_path / 'x.pth'))

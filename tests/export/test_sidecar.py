import dataclasses
import hashlib
import json
import shutil

import pytest

import mils_jax
from mils_jax.errors import RunError, UserError
from mils_jax.export.sidecar import read_sidecar
from mils_jax.restore import restore
from mils_jax.training.run_folder import RunFolder


@pytest.fixture
def folder(hub_folder, tmp_path):
  return shutil.copytree(hub_folder, tmp_path / 'copy')


def test_it_describes_inputs_and_outputs(hub_folder, small_runs):
  values = read_sidecar(hub_folder)
  channels = restore(RunFolder(small_runs['wide_cnn'])).spec.channels
  assert {key: tuple(value) for key, value in values['channels'].items()} == dataclasses.asdict(channels)
  assert channels.names == ('R', 'G', 'B')
  assert all(low < mean - std < mean + std < high for low, mean, std, high in
             zip(channels.low, channels.mean, channels.std, channels.high, strict=True))
  assert (len(values['classes']), values['image_size'], values['trained']) == (20, [16, 16], ['R', 'G', 'B'])
  assert values['versions'].keys() == {'mils-jax', 'jax', 'flax', 'numpy', 'safetensors'}
  assert values['comparison']['largest_relative_difference'] <= 1e-4
  assert values['comparison']['batches'] == [1, 2, 5]
  for name, expected in values['files'].items():
    assert hashlib.sha256((hub_folder / name).read_bytes()).hexdigest() == expected
  assert values['files'].keys() == {'model.safetensors', 'config.json'}


def test_a_file_that_has_changed_is_named(folder):
  weights = folder / 'model.safetensors'
  data = bytearray(weights.read_bytes())
  data[-1] ^= 1
  weights.write_bytes(data)
  with pytest.raises(RunError, match=r'model.safetensors has changed since it was exported \(SHA-256\)'):
    mils_jax.load(folder)
  weights.unlink()
  with pytest.raises(RunError, match=r'model.safetensors is missing'):
    mils_jax.load(folder)


def test_a_statistic_that_has_changed_is_found(folder):
  values = json.loads((folder / 'export.json').read_text())
  values['channels']['mean'][1] += 1
  (folder / 'export.json').write_text(json.dumps(values))
  with pytest.raises(RunError, match=r'export.json has changed since it was exported'):
    mils_jax.load(folder)


@pytest.mark.parametrize('text', ['', '[]', '{}', '{"sha256": ""}'])
def test_what_cannot_be_read_is_damaged(folder, text):
  (folder / 'export.json').write_text(text)
  with pytest.raises(RunError, match=r'export.json cannot be read'):
    mils_jax.load(folder)


def test_the_card_is_free_to_change(folder):
  (folder / 'README.md').write_text('our own words')
  assert read_sidecar(folder)['format'] == 'hub'


def rewritten(folder, **changes):
  path = folder / 'export.json'
  values = {**json.loads(path.read_text()), **changes}
  del values['sha256']
  digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
  path.write_text(json.dumps({**values, 'sha256': digest}))


def test_another_format_or_a_later_version_is_not_loaded(folder, tmp_path):
  rewritten(folder, format='stablehlo')
  with pytest.raises(UserError, match=r'is an export in the format stablehlo .*; expected a run folder or'):
    mils_jax.load(folder)
  rewritten(folder, schema=2)
  with pytest.raises(UserError, match='was exported by a later version'):
    mils_jax.load(folder)
  with pytest.raises(UserError, match=r'is no export: it has no export.json'):
    read_sidecar(tmp_path)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'files': {}}, 'has no hash of model.safetensors'),
    ({'files': {'../secret': ''}}, r'names a file outside of its folder: \.\./secret'),
    ({'files': {'/etc/passwd': ''}}, 'names a file outside of its folder: /etc/passwd'),
    ({'schema': 'two'}, 'cannot be read'),
    ({'files': 1}, 'cannot be read'),
    ({'channels': {}}, 'cannot be read'), ({'channels': []}, 'cannot be read'), ({'channels': None}, 'cannot be read'),
    ({'image_size': None}, 'cannot be read'),
])
def test_what_its_owner_wrote_wrongly_is_one_line(folder, changes, message):
  rewritten(folder, **changes)
  with pytest.raises(RunError, match=message) as raised:
    mils_jax.load(folder)
  assert '\n' not in str(raised.value)

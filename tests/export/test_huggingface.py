"""The hub's own client against a hub on this machine, in processes of their own: it reads its address once."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import mils_jax
from mils_jax.cli import main
from mils_jax.errors import UserError
from mils_jax.export import huggingface
from tests.export.hub_server import TOKEN, serve
from tests.runs import ROOT

pytest.importorskip('huggingface_hub', reason='the extra hub is not installed')


@pytest.fixture
def hub():
  with serve() as hub:
    yield hub


def in_process(code, hub, home, **environment):
  """The output of a process, its errors in place of it."""
  environment = {'HF_ENDPOINT': hub.address, 'HF_HOME': str(home), 'PYTHONPATH': str(ROOT), 'HF_TOKEN': '',
                 'HF_HUB_DISABLE_PROGRESS_BARS': '1', 'HF_HUB_DISABLE_XET': '1', **environment}
  done = subprocess.run([sys.executable, '-c', code], env={**os.environ, **environment}, capture_output=True, text=True,
                        check=False)
  assert not done.returncode, done.stderr
  return done.stdout.strip().splitlines()


FETCH = """
from mils_jax.errors import UserError
from mils_jax.export.huggingface import fetch
try:
  print(fetch({address!r}))
except UserError as error:
  print(f'error: {{error}}')
"""


PUSH = """
from pathlib import Path
from mils_jax.errors import UserError
from mils_jax.export.huggingface import push
try:
  print(push(Path({folder!r}), 'anna/shapes', private=False))
except UserError as error:
  print(f'error: {{error}}')
"""


def test_a_pushed_folder_is_loaded_by_its_address_online_and_from_the_cache(hub, hub_folder, tmp_path):
  folder = shutil.copytree(hub_folder, tmp_path / 'shapes')
  (folder / 'notes.txt').write_text('mine')
  said = in_process(PUSH.format(folder=str(folder)), hub, tmp_path, HF_TOKEN=TOKEN)
  assert said == ['not uploaded, since export does not write it: notes.txt', 'hf://anna/shapes']
  pushed = {path.name: path.read_bytes() for path in hub_folder.iterdir()}
  pushed['README.md'] = pushed['README.md'].replace(b'hf://USER/NAME', b'hf://anna/shapes')
  assert hub.models['anna/shapes'] == pushed
  images = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), np.uint8)
  np.save(tmp_path / 'images.npy', images)
  load = f"""
import jax, numpy as np
jax.config.update('jax_disable_most_optimizations', True)
import mils_jax
images = np.load({str(tmp_path / 'images.npy')!r})
places = ['hf://anna/shapes', {str(hub_folder)!r}]
np.savez({str(tmp_path / 'found.npz')!r}, *(mils_jax.load(place)(images) for place in places))
"""
  in_process(load, hub, tmp_path)
  fetched, exported = np.load(tmp_path / 'found.npz').values()
  np.testing.assert_array_equal(fetched, exported)
  assert fetched.shape == (2, 20)
  asked = len(hub.asked)
  (cached,) = in_process(FETCH.format(address='hf://anna/shapes'), hub, tmp_path, HF_HUB_OFFLINE='1')
  (same,) = in_process(FETCH.format(address=f'hf://anna/shapes@{hub.sha("anna/shapes")}'), hub, tmp_path,
                       HF_HUB_OFFLINE='1')
  assert cached == same
  assert len(hub.asked) == asked
  assert {path.name for path in hub_folder.iterdir()} == set(os.listdir(cached))


@pytest.mark.parametrize(('address', 'offline', 'message'), [
    ('hf://anna/nothing', '0', 'hf://anna/nothing: no such model, or none that you may read'),
    ('hf://anna/nothing', '1', 'hf://anna/nothing: cannot be reached and is not in the cache'),
])
def test_what_cannot_be_fetched_is_one_line(hub, tmp_path, address, offline, message):
  (line,) = in_process(FETCH.format(address=address), hub, tmp_path, HF_HUB_OFFLINE=offline)
  assert line.startswith(f'error: {message}')


def test_a_folder_without_its_card_is_pushed(hub, hub_folder, tmp_path):
  folder = shutil.copytree(hub_folder, tmp_path / 'shapes')
  (folder / 'README.md').unlink()
  assert in_process(PUSH.format(folder=str(folder)), hub, tmp_path, HF_TOKEN=TOKEN) == ['hf://anna/shapes']
  assert set(hub.models['anna/shapes']) == {'config.json', 'export.json', 'model.safetensors'}


def test_a_model_of_another_program_is_named(hub, tmp_path):
  hub.models['anna/other'] = {'config.json': b'{}', 'model.safetensors': b''}
  code = FETCH.replace('export.huggingface import fetch', 'export.load import load_model as fetch')
  (line,) = in_process(code.format(address='hf://anna/other'), hub, tmp_path)
  assert line == ('error: hf://anna/other: no model of this program, since it has no export.json. Expected one that '
                  '`push` uploaded')


def test_a_token_that_may_not_write_is_one_line(hub, hub_folder, tmp_path):
  (line,) = in_process(PUSH.format(folder=str(hub_folder)), hub, tmp_path, HF_TOKEN='hf_other')
  assert line.startswith('error: anna/shapes: the token may not write there (401).')
  assert not hub.models


@pytest.mark.parametrize('address', ['hf://anna', 'hf://anna/x/y', 'hf://', 'hf://../x', 'hf://anna/x y'])
def test_an_address_that_is_none_is_refused(address):
  with pytest.raises(UserError, match='names no model of the hub'):
    mils_jax.load(address)


def test_without_a_token_or_a_name_nothing_is_pushed(hub_folder, monkeypatch, capsys):
  monkeypatch.setattr('huggingface_hub.get_token', lambda: None)
  assert main(['mils-jax', 'push', str(hub_folder), 'anna/shapes']) == 2
  assert capsys.readouterr().err == ('error: push to anna/shapes: there is no token. Expected one from '
                                     '`hf auth login`, or in HF_TOKEN\n')
  assert main(['mils-jax', 'push', str(hub_folder)]) == 2
  assert 'needs --repository: USER/NAME' in capsys.readouterr().err


def test_without_the_client_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub.errors', None)
  with pytest.raises(UserError, match=r'hf://anna/x needs huggingface_hub.*; pip install .*\[hub\]'):
    huggingface.fetch('hf://anna/x')


def test_a_folder_that_is_no_run_is_not_pushed(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr('huggingface_hub.get_token', lambda: 'hf_x')
  assert main(['mils-jax', 'push', str(tmp_path), 'anna/shapes']) == 2
  assert 'is no run folder' in capsys.readouterr().err


@pytest.mark.parametrize('private', [True, False])
def test_who_asks_for_a_private_model_gets_one(private, hub_folder, monkeypatch):
  import huggingface_hub

  made, uploaded = [], []
  monkeypatch.setattr(huggingface_hub, 'create_repo', lambda name, **options: made.append((name, options['private'])))
  monkeypatch.setattr(huggingface_hub, 'upload_folder', lambda **options: uploaded.append(options['repo_id']))
  assert huggingface.push(hub_folder, 'anna/shapes', private) == 'hf://anna/shapes'
  assert (made, uploaded) == ([('anna/shapes', private)], ['anna/shapes'])

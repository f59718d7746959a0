import shutil

import pytest

from mils_jax.cli import main
from mils_jax.commands import push as push_command
from tests.export.test_sidecar import rewritten


@pytest.fixture
def pushed(monkeypatch):
  """What would have been uploaded: the names of the files, and the name of the model."""
  found = []

  def push(folder, repository, private):
    found.append((sorted(path.name for path in folder.iterdir()), repository, private))
    return f'hf://{repository}'

  monkeypatch.setattr(push_command, 'push', push)
  monkeypatch.setattr(push_command, 'check_push', lambda _: None)
  return found


FILES = ['README.md', 'config.json', 'export.json', 'model.safetensors']


def test_a_run_is_exported_first(small_runs, pushed, capsys):
  run = small_runs['wide_cnn']
  assert main(['main.py', '--mode=push', f'--workdir={run}', '--repository=anna/shapes']) == 0
  assert pushed == [(FILES, 'anna/shapes', False)]
  out = capsys.readouterr().out
  assert 'compared with the model: largest difference' in out
  assert "mils_jax.load('hf://anna/shapes') loads it anywhere" in out
  assert not (run / 'export').exists()


def test_an_export_in_the_format_hub_is_pushed_as_it_is(small_runs, pushed, tmp_path, capsys):
  folder = tmp_path / 'hub'
  assert main(['mils-jax', 'export', str(small_runs['wide_cnn']), '--format=hub', '--output', str(folder)]) == 0
  assert f'mils-jax push {folder} USER/NAME' in capsys.readouterr().out
  assert main(['mils-jax', 'push', str(folder), 'anna/shapes', '--config.data.seed=1']) == 2
  assert '--config.data.seed=1: an export takes no --config.FIELD' in capsys.readouterr().err
  assert main(['mils-jax', 'push', str(folder), 'anna/shapes']) == 0
  assert pushed == [(FILES, 'anna/shapes', False)]
  other = shutil.copytree(folder, tmp_path / 'other')
  rewritten(other, format='onnx')
  (folder / 'model.safetensors').write_bytes(b'')
  for wrong, code, message in ((other, 2, 'is an export in the format onnx'), (folder, 1, 'has changed since')):
    assert main(['mils-jax', 'push', str(wrong), 'anna/shapes']) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1
  assert len(pushed) == 1


def test_an_export_of_earlier_weights_than_the_runs_best_is_refused(small_runs, pushed, tmp_path, capsys):
  run = shutil.copytree(small_runs['wide_cnn'], tmp_path / 'run')
  assert main(['mils-jax', 'export', str(run), '--format=hub']) == 0
  folder = run / 'export' / 'hub'
  assert main(['mils-jax', 'push', str(folder), 'anna/shapes', '--private']) == 0
  rewritten(folder, step=2)
  capsys.readouterr()
  assert main(['mils-jax', 'push', str(folder), 'anna/shapes']) == 2
  error = capsys.readouterr().err
  assert 'was exported at step 2, and the best of its run is step 5 by now: push ' in error
  assert error.count('\n') == 1
  assert pushed == [(FILES, 'anna/shapes', True)]

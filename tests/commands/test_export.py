import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from mils_jax.cli import main
from mils_jax.commands import export as export_command
from mils_jax.export import compare as comparing
from mils_jax.export import stablehlo
from mils_jax.export.sidecar import read_sidecar
from tests.runs import ROOT


@pytest.fixture
def run(small_runs):
  return small_runs['dynamic_resnet12']


def export(run, *words):
  return main(['mils-jax', 'export', str(run), *words])


def test_it_is_compared_and_written_into_the_run_folder(run, tmp_path, capsys):
  copy = shutil.copytree(run, tmp_path / 'run')
  assert main(['main.py', '--mode=export', f'--workdir={copy}', '--format=hub']) == 0
  out = capsys.readouterr().out
  assert 'compared with the model: largest difference of a logit ' in out
  assert f'everything in {copy / "export" / "hub"}' in out
  assert f'main.py --mode push --workdir {copy / "export" / "hub"} --repository USER/NAME' in out
  assert read_sidecar(copy / 'export' / 'hub')['format'] == 'hub'
  assert [path.name for path in (copy / 'export').iterdir()] == ['hub']  # what was unfinished is gone
  assert export(copy, '--format=hub') == 2
  assert capsys.readouterr().err == (f'error: --output {copy / "export" / "hub"} exists: give a folder that does not '
                                     'exist\n')


@pytest.mark.parametrize(('words', 'message'), [
    ((), 'mils-jax export needs --format. Valid: stablehlo, onnx, safetensors, hub'),
    (('--format=stablehl',), "unknown --format 'stablehl'. Did you mean 'stablehlo'? Valid: stablehlo, onnx, "),
    (('--format=hub', '--output=taken'), '--output taken exists: give a folder that does not exist'),
    (('--format=hub', '--output=taken/file/x'), '--output taken/file/x cannot be written: '),
])
def test_a_mistake_is_one_line_and_leaves_nothing(run, words, message, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'taken').mkdir()
  (tmp_path / 'taken' / 'file').touch()
  assert export(run, *words) == 2
  error = capsys.readouterr().err
  assert error.startswith(f'error: {message}')
  assert error.count('\n') == 1
  assert [path.name for path in tmp_path.rglob('*')] == ['taken', 'file']
  assert not (run / 'export').exists()


def test_a_run_without_a_checkpoint_is_refused(run, tmp_path, capsys):
  shutil.copy(run / 'config.json', tmp_path)
  assert export(tmp_path, '--format=hub') == 2
  assert 'has no checkpoint yet' in capsys.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ['config.json']


@pytest.mark.parametrize('package', ['jax2onnx', 'onnxruntime'])
def test_a_missing_package_is_one_line_that_says_how_to_install_it(run, package, tmp_path, monkeypatch, capsys):
  for name in ('jax2onnx', 'onnxruntime'):
    monkeypatch.setitem(sys.modules, name, None if name == package else sys)
  monkeypatch.delitem(sys.modules, 'mils_jax.export.onnx', raising=False)
  assert export(run, '--format=onnx', f'--output={tmp_path / "new" / "onnx"}') == 2
  captured = capsys.readouterr()
  assert captured.err.startswith(f'error: --format onnx needs {package}; pip install ')
  assert captured.err.count('\n') == 1
  assert captured.out == ''
  assert list(tmp_path.iterdir()) == []  # before anything is written


def test_what_computes_otherwise_is_not_kept(run, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(comparing, 'LIMIT', -1.0)
  assert export(run, '--format=hub', f'--output={tmp_path / "new" / "hub"}') == 1
  error = capsys.readouterr().err
  assert error.startswith('failed: the export does not compute what the model does')
  assert error.count('\n') == 1
  assert list((tmp_path / 'new').iterdir()) == []


def test_data_that_is_named_beside_the_run_is_compared_on_and_changes_nothing_else(run, tmp_path, capsys):
  words = ['mils-jax', 'export', 'task_a', f'--workdir={run}', '--format=hub', f'--output={tmp_path / "hub"}']
  own = json.loads((run / 'config.json').read_text())
  changes = [f'--config.{section}.{name}={value}' for section in ('model', 'attention')
             for name, value in own[section].items() if name not in ('name', 'widths', 'strides')]
  changes += ['--config.model.widths=(8,)', '--config.train.epochs=1', '--config.train.batch_size=20',
              '--config.data.nodata=0', '--config.data.image_size=16', '--config.data.source=folder',
              f'--config.data.path={tmp_path}']
  assert main([*words, *changes]) == 0
  written = json.loads((tmp_path / 'hub' / 'config.json').read_text())
  assert (written['data']['source'], written['data']['nodata']) == ('shapes', '')
  said = (tmp_path / 'hub' / 'export.json').read_text()
  assert json.loads(said)['nodata'] == ''
  assert "the run's own data was not there" in said
  assert str(tmp_path) not in said
  assert f"the run's own data is not there: data.path='{tmp_path}'" in capsys.readouterr().out


def test_a_signal_leaves_nothing_unfinished(run, tmp_path, monkeypatch):
  def stopped(*_):
    (found,) = tmp_path.glob('.hub-*/hub')
    assert (found / 'model.safetensors').exists()
    os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(export_command, 'compare', stopped)
  assert export(run, '--format=hub', f'--output={tmp_path / "hub"}') == 128 + signal.SIGTERM
  assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal
from mils_jax.cli import main
from mils_jax.commands import export
export.compare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(['mils-jax', 'export', {run!r}, '--format=hub', '--output', {output!r}])
"""


@pytest.mark.slow
def test_a_killed_export_is_not_taken_for_one(run, tmp_path):
  output = tmp_path / 'hub'
  done = subprocess.run([sys.executable, '-c', KILLED.format(run=str(run), output=str(output))], check=False,
                        env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True)
  assert done.returncode == -signal.SIGKILL
  assert not output.exists()
  assert export(run, '--format=hub', f'--output={output}') == 0  # the same command again
  read_sidecar(output)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['stablehlo', 'onnx'])
def test_a_compressed_run_is_exported(run, name, tmp_path, capsys):
  if name == 'onnx':
    pytest.importorskip('jax2onnx', reason='the extra onnx and jax2onnx are not installed')
  if name == 'stablehlo':
    pytest.importorskip('flatbuffers', reason='flatbuffers is not installed')
  assert main(['mils-jax', 'compress', str(run), '--output', str(tmp_path / 'merged')]) == 0
  assert export(tmp_path / 'merged', f'--format={name}', f'--output={tmp_path / name}') == 0
  assert read_sidecar(tmp_path / name)['comparison']['largest_relative_difference'] < 1e-4
  if name == 'stablehlo':
    assert (tmp_path / name / stablehlo.FILE).stat().st_size

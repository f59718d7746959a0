"""The examples of docs/export.md, as they stand there: those of other programs in processes without this one."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

import mils_jax
from mils_jax.cli import main
from tests.runs import ROOT
from tests.test_docs import python_blocks

EXAMPLES = dict(python_blocks(ROOT / 'docs/export.md'))
WITHOUT = "import sys\nsys.modules['mils_jax'] = None  # which makes importing it fail\n"
TIMM = """
import torch
try:
  import timm
except RuntimeError:  # a torchvision built for CUDA beside a torch built for CPU lacks what no ResNet needs
  library = torch.library.Library('torchvision', 'FRAGMENT')
  for name in ('nms', 'qnms'):
    library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
"""


def need(*packages):
  missing = [name for name in packages if importlib.util.find_spec(name) is None]
  if missing:
    pytest.skip(f'not installed: {", ".join(missing)}')


def run_without(title, folder, added='', before=''):
  """What an example prints, and its logits."""
  code = WITHOUT + before + EXAMPLES[title] + added + "\nnp.save('logits.npy', logits)\n"
  done = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, check=False,
                        env={**os.environ, 'PYTHONPATH': ''})
  assert not done.returncode, done.stderr
  return done.stdout, np.load(folder / 'logits.npy')


@pytest.mark.parametrize(('name', 'title', 'packages'), [
    ('stablehlo', 'run_stablehlo.py', ['flatbuffers']), ('onnx', 'run_onnx.py', ['jax2onnx', 'onnxruntime'])])
def test_the_function_runs_without_this_program(name, title, packages, small_runs, tmp_path):
  need(*packages)
  run = small_runs['dynamic_resnet12']
  assert main(['mils-jax', 'export', str(run), f'--format={name}', f'--output={tmp_path / "exported" / name}']) == 0
  printed, logits = run_without(title, tmp_path)
  assert 'mils_jax' not in EXAMPLES[title]
  classifier = mils_jax.load(run)
  image = np.full((16, 16, 3), 100, np.uint8)
  expected = np.concatenate([classifier(image), classifier(image[..., 1:], 'GB')])
  found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  assert printed == f'{[classifier.classes[best] for best in expected.argmax(axis=1)]}\n'


@pytest.mark.slow
def test_timm_loads_the_weights_of_a_resnet34_and_gives_the_same_logits(tmp_path):
  need('timm', 'torch')
  from configs import resnet34
  from mils_jax.run import run_training
  from mils_jax.run_config import RunConfig
  from mils_jax.training.run_folder import RunFolder

  config = resnet34.get_config()
  config.data.update(source='shapes', image_size=32)
  config.data.shapes.update(num_train=40, num_val=20, num_test=20)
  config.train.update(epochs=1, batch_size=20)
  config.runtime.cache = str(tmp_path / 'cache')
  run_training(RunConfig.read(config), RunFolder(tmp_path / 'run'), [])
  folder = tmp_path / 'exported/safetensors'
  assert main(['mils-jax', 'export', str(tmp_path / 'run'), '--format=safetensors', f'--output={folder}']) == 0
  _, logits = run_without('run_pytorch.py', tmp_path, '\nimport numpy as np\nlogits = logits.detach().numpy()', TIMM)
  probabilities = mils_jax.load(tmp_path / 'run')(np.full((2, 32, 32, 3), 100, np.uint8))
  found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(found, probabilities, rtol=1e-3, atol=1e-5)


def test_a_folder_for_a_hub_is_loaded(hub_folder, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'exported').mkdir()
  (tmp_path / 'exported/hub').symlink_to(hub_folder)
  names = {}
  exec(EXAMPLES['hub.py'], names)
  assert names['probabilities'].shape == (2, 20)
  assert capsys.readouterr().out.startswith("['")


def test_the_service_answers_and_survives_what_it_cannot_read(small_runs, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'runs').mkdir()
  (tmp_path / 'runs/task_a').symlink_to(small_runs['dynamic_resnet12'])
  code = EXAMPLES['service.py']
  assert "('localhost', 8080)" in code
  names = {}
  exec(code.replace('8080', '0').replace('server.serve_forever()', ''), names)
  monkeypatch.setattr(names['Service'], 'log_message', lambda *_: None)
  server = names['server']

  def ask(body):
    address = f'http://localhost:{server.server_address[1]}'
    with urllib.request.urlopen(urllib.request.Request(address, data=body)) as answer:
      return json.load(answer)

  def as_npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()

  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    image = np.full((16, 16, 3), 100, np.uint8)
    row = names['classifier'](image)[0]
    for body, message in ((b'no array', 'pickle'), (as_npy(image[..., :2]), 'images of 2 channels; compiled for 3')):
      with pytest.raises(urllib.error.HTTPError) as raised:
        ask(body)
      assert raised.value.code == 400
      assert message in json.load(raised.value)['error']
    assert ask(as_npy(image)) == dict(zip(names['classifier'].classes, row.tolist(), strict=True))
  finally:
    server.shutdown()
    server.server_close()
    thread.join()

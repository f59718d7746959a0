"""What the benchmarks measure by default can be built: names of networks, mixes, options and files that there are."""

import re
import shlex
from pathlib import Path

import pytest

from benchmarks import growth, models
from benchmarks.baseline import Task, fields_of
from mils_jax.command_line import load_config, read_words
from mils_jax.models import networks
from mils_jax.models.variables import abstract_variables

ROOT = Path(__file__).parents[2]
GPU = (ROOT / 'benchmarks/gpu.sh').read_text()


@pytest.mark.parametrize('name', sorted({*models.DYNAMIC, *models.PLAIN, models.OURS}))
def test_every_way_of_jax_is_one_of_the_networks(name):
  side, way = name.split(':')
  if side != 'jax':
    pytest.skip('PyTorch, measured where it is installed')
  network = 'dynamic_resnet12' if name in models.DYNAMIC else 'wide_cnn'
  task = Task('jax', 'infer', way, network, 32, 2)
  abstract_variables(networks()[network](10, **fields_of(task, way)), (32, 32))


@pytest.mark.parametrize(('name', 'value'),
                         [(name, value) for name, values in growth.VALUES.items() for value in values])
def test_every_value_of_growth_is_one_of_a_task(name, value):
  task = Task('jax', 'infer', **growth.BASE | {name: value})
  assert getattr(task, name) == value


def test_the_script_for_gpus_names_what_there_is(monkeypatch):
  monkeypatch.chdir(ROOT)
  text = GPU.replace('\\\n', ' ')
  named = re.findall(r'\btests/\S+', text)
  assert named
  assert all((ROOT / path).exists() for path in named)
  ways = {way for line in re.findall(r'--baselines (\S+)', text) for way in line.split(',')}
  assert ways
  assert ways <= {*models.DYNAMIC, *models.PLAIN}
  (training,) = re.findall(r'main\.py (.*?)$', text, re.MULTILINE)
  for task in ('task_b', 'resnet34'):
    words = 'main.py ' + training.replace('$task', task).replace('$data', 'images').replace('$results', 'results')
    config, _ = load_config(read_words(shlex.split(words)))
    assert (config.train.epochs, config.runtime.data_placement) == (3, 'device')

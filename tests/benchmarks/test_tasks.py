"""What the benchmarks measure by default can be built: names of networks, mixes, options and files that there are."""

import re
import shlex
from pathlib import Path

import jax
import pytest

from benchmarks import growth, models
from benchmarks.baseline import Task, fields_of
from mils_jax.command_line import load_config, read_words
from mils_jax.models import networks
from mils_jax.models.variables import abstract_variables

ROOT = Path(__file__).parents[2]
GPU = (ROOT / 'benchmarks/gpu.sh').read_text()


def parameters(task):
  """The shapes of the parameters of a task's network, with its variant as what attention mixes."""
  network = networks()[task.network](10, **fields_of(task, task.variant))
  return jax.tree.map(lambda leaf: leaf.shape, abstract_variables(network, (task.image_size,) * 2)['params'])


def test_every_variant_of_jax_is_one_of_the_networks():
  variants = [name.partition(':')[2] for name in models.DYNAMIC if name.startswith('jax:')]
  assert len(variants) == 3
  found = [parameters(Task('jax', 'infer', variant, 'dynamic_resnet12', 32, 2)) for variant in variants]
  assert found[0] == found[1] == found[2]  # another way to the same network
  assert models.OURS in models.DYNAMIC
  assert [name for name in models.PLAIN if name.startswith('jax:')] == [models.OURS]


@pytest.mark.parametrize(('name', 'value'),
                         [(name, value) for name, values in growth.VALUES.items() for value in values])
def test_every_value_of_growth_is_one_of_a_task(name, value):
  task = Task('jax', 'infer', **growth.BASE | {name: value})
  assert getattr(task, name) == value
  shape = parameters(task)['stem_conv']['kernels']
  assert (shape[0], shape[-2]) == (task.num_kernels, task.channels)


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

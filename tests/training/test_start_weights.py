"""Starting from a file of PyTorch's weights: which channel gets which, the head, what is printed, what is refused."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from configs import task_b
from mils_jax.channels import ChannelSpec
from mils_jax.cli import main
from mils_jax.errors import UserError
from mils_jax.models import DynamicResNet12, ResNet34, WideCNN
from mils_jax.models.torch_names import to_torch
from mils_jax.models.variables import abstract_variables
from mils_jax.run import run_training
from mils_jax.run_config import RunConfig
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.warm_start import warm_start
from tests.plans import first_state, step_plan

NETWORKS = {
    'wide_cnn': (WideCNN(5, stages=2, width=8), 'stage1/conv/kernel'),
    'dynamic_resnet12': (DynamicResNet12(5, widths=(8,), stem_width=8, blocks=1), 'stem_conv/kernels'),
    'resnet34': (ResNet34(5, widths=(8, 12), blocks=(1, 1)), 'stem_conv/kernel'),
}
COLORS, CLASSES = ('R', 'G', 'B'), ('a', 'b', 'c', 'd', 'e')


WIDE = pytest.mark.parametrize('pretrained', ['wide_cnn'], indirect=True)  # where one network tells as much as three


def spec(channels, classes):
  names = ChannelSpec(channels, ('',) * len(channels), (0.0,) * len(channels), (1.0,) * len(channels))
  return ModelSpec(names, classes, (16, 16), 'data', channels)


def at(params, path):
  for part in path.split('/'):
    params = params[part]
  return np.asarray(params)


@pytest.fixture(params=NETWORKS)
def pretrained(request, tmp_path):
  """A network with three channels and five classes, its variables, the path of its first kernel, and their file."""
  network, first = NETWORKS[request.param]
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
                           abstract_variables(network, (16, 16)))
  path = tmp_path / 'weights.safetensors'
  safetensors.numpy.save_file(to_torch(network, variables), path)
  return network, variables, first, str(path)


def started(pretrained, channels, classes=CLASSES, **fields):
  """The fresh state of a network with these channels and classes, and what it becomes."""
  network, _, _, path = pretrained
  model = network.clone(in_channels=len(channels), num_classes=len(classes), **fields)
  fresh = first_state(step_plan(model))
  return fresh, warm_start(fresh, model, spec(channels, classes), path)


def test_the_same_channels_and_number_of_classes_take_all(pretrained, capsys):
  _, state = started(pretrained, COLORS)
  jax.tree.map(np.testing.assert_array_equal, state.variables, pretrained[1])
  lines = capsys.readouterr().out
  assert f'starting from the weights in {pretrained[3]}: ' in lines
  assert '0 arrays adapted, 0 arrays left fresh' in lines
  assert '  its 3 channels are assumed to be R, G and B\n' in lines
  assert '  its 5 classes have no names and are assumed to be those here, in order\n' in lines
  assert 'scaled' not in lines


def test_channels_go_to_their_names_and_others_get_the_mean_at_the_same_size(pretrained, capsys):
  _, variables, first, _ = pretrained
  _, state = started(pretrained, ('B', 'NIR', 'R', 'G'))
  before, after = at(variables['params'], first), at(state.params, first)
  mean = before.mean(axis=-2)
  for channel, kernel in enumerate((before[..., 2, :], mean, before[..., 0, :], before[..., 1, :])):
    np.testing.assert_allclose(after[..., channel, :], 0.75 * kernel, atol=1e-6)
  np.testing.assert_allclose(after.sum(axis=-2), before.sum(axis=-2), atol=1e-5)  # the response to a grey image
  lines = capsys.readouterr().out
  assert '  channels taken: B, R, G\n  channels from the mean of all: NIR\n' in lines
  assert '  weights of channels scaled by 3/4: their sum keeps its size\n' in lines
  assert f'params/{first}' in next(line for line in lines.splitlines() if line.startswith('  adapted: '))
  assert 'not needed' not in lines


def test_the_same_channels_in_another_order_are_the_same_network(pretrained):
  network, variables, _, _ = pretrained
  _, state = started(pretrained, ('B', 'G', 'R'))
  images = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
  expected = network.apply(variables, images, train=False)
  np.testing.assert_allclose(network.apply(state.variables, images[..., ::-1], train=False), expected,
                             atol=1e-5 * np.abs(expected).max())


@WIDE
def test_colours_are_known_by_their_whole_names_too(pretrained):
  _, state = started(pretrained, ('red', 'Green', 'BLUE'))
  jax.tree.map(np.testing.assert_array_equal, state.variables, pretrained[1])


@WIDE
def test_fewer_channels_are_scaled_up_and_the_rest_is_not_needed(pretrained, capsys):
  _, variables, first, _ = pretrained
  _, state = started(pretrained, ('G', 'R'))
  before, after = at(variables['params'], first), at(state.params, first)
  np.testing.assert_allclose(after, 1.5 * before[..., [1, 0], :], rtol=1e-6)
  assert 'channels not needed: B\n' in capsys.readouterr().out


@WIDE
def test_channels_of_no_colour_get_the_mean(pretrained, capsys):
  _, variables, first, _ = pretrained
  _, state = started(pretrained, ('VV', 'VH'))
  mean = at(variables['params'], first).mean(axis=-2)
  for channel in range(2):
    np.testing.assert_allclose(at(state.params, first)[..., channel, :], 1.5 * mean, atol=1e-6)
  lines = capsys.readouterr().out
  assert 'channels from the mean of all: VV, VH\n' in lines
  assert 'not needed' not in lines  # R, G and B are in the mean


@WIDE
def test_as_many_channels_of_no_colour_are_taken_in_order(pretrained, capsys):
  _, state = started(pretrained, ('VV', 'VH', 'ratio'))
  jax.tree.map(np.testing.assert_array_equal, state.variables, pretrained[1])
  assert 'its 3 channels have no names and are matched in order: VV, VH, ratio' in capsys.readouterr().out


def test_another_number_of_classes_leaves_the_head_fresh(pretrained, capsys):
  _, variables, first, _ = pretrained
  fresh, state = started(pretrained, COLORS, ('x', 'y', 'z'))
  for leaf in ('kernel', 'bias'):
    np.testing.assert_array_equal(state.params['classifier'][leaf], fresh.params['classifier'][leaf])
  np.testing.assert_array_equal(at(state.params, first), at(variables['params'], first))
  lines = capsys.readouterr().out
  assert '2 arrays left fresh' in lines
  assert '  its 5 classes have no names and here are 3: the classifier is left fresh\n' in lines
  assert '  left fresh: params/classifier/bias, params/classifier/kernel\n' in lines


@WIDE
def test_a_file_without_a_head_leaves_it_fresh(pretrained, capsys):
  arrays = safetensors.numpy.load_file(pretrained[3])
  safetensors.numpy.save_file({name: array for name, array in arrays.items()
                               if not name.startswith(('fc.', 'classifier.'))}, pretrained[3])
  fresh, state = started(pretrained, COLORS)
  np.testing.assert_array_equal(state.params['classifier']['kernel'], fresh.params['classifier']['kernel'])
  assert 'it has no classifier' in capsys.readouterr().out


def test_what_plain_networks_lack_is_left_fresh(pretrained, capsys):
  _, variables, first, _ = pretrained
  fresh, state = started(pretrained, (*COLORS, 'NIR'), conditioning='statistics', imputation='learned')
  np.testing.assert_array_equal(state.params['statistics']['hidden1']['kernel'],
                                fresh.params['statistics']['hidden1']['kernel'])
  np.testing.assert_allclose(at(state.params, first)[..., :3, :], 0.75 * at(variables['params'], first), rtol=1e-6)
  assert 'params/input/value' in capsys.readouterr().out


def test_what_is_no_weighted_sum_of_images_is_taken_by_name_and_not_blended(tmp_path):
  network = WideCNN(5, stages=2, width=8, conditioning='presence')
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
                           abstract_variables(network, (16, 16)))
  safetensors.numpy.save_file(to_torch(network, variables), tmp_path / 'own.safetensors')
  pretrained = network, variables, '', str(tmp_path / 'own.safetensors')
  fresh, state = started(pretrained, ('NIR', *COLORS))
  before, drawn, after = (at(params, 'stage1_film/hidden/kernel')
                          for params in (variables['params'], fresh.params, state.params))
  np.testing.assert_array_equal(after[1:], before)
  np.testing.assert_array_equal(after[0], drawn[0])


@WIDE
def test_averaged_weights_start_from_the_file_too(pretrained):
  network, variables, _, path = pretrained
  state = warm_start(first_state(step_plan(network, ema_decay=0.9)), network, spec(COLORS, CLASSES), path)
  jax.tree.map(np.testing.assert_array_equal, state.average, variables)


def test_another_network_is_refused_with_the_first_names_and_shapes(pretrained):
  network, *_, path = pretrained
  other = WideCNN(5, stages=3, width=8)
  with pytest.raises(UserError) as caught:
    warm_start(first_state(step_plan(other)), other, spec(COLORS, CLASSES), path)
  message = str(caught.value)
  assert message.startswith(f'train.init_from={path}: the arrays are not those of WideCNN: ')
  assert 'of its own missing, first stages.' in message
  assert isinstance(network, WideCNN) or 'that it does not have, first ' in message


TINY = ['--config.data.shapes.num_train=40', '--config.data.shapes.num_val=21', '--config.data.shapes.num_test=21',
        '--config.data.image_size=16', '--config.train.batch_size=20', '--config.train.epochs=1',
        '--config.model.width=8', '--config.model.stages=2']


@pytest.mark.parametrize(('name', 'width', 'share', 'message'), [
    ('other.safetensors', 12, 1, 'the arrays are not those of WideCNN: 2'),
    ('cut.safetensors', 8, 0.5, 'cannot be read as safetensors'),
    ('gone.safetensors', 8, 0, 'cannot be read: No such file'),
    ('weights.bin', 8, 1, 'is no run folder and no file of weights. Valid: .safetensors, .pth, .pt'),
])
def test_a_file_that_does_not_fit_is_one_line_with_exit_code_2_and_nothing_is_written(name, width, share, message,
                                                                                    tmp_path, capsys, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  network = WideCNN(5, stages=2, width=width)
  variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), abstract_variables(network, (16, 16)))
  content = safetensors.numpy.save(to_torch(network, variables))
  if share:
    (tmp_path / name).write_bytes(content[:int(share * len(content))])
  words = ['mils-jax', 'train', 'task_b', *TINY, f'--config.train.init_from={tmp_path / name}']
  assert main([*words, f'--workdir={tmp_path / "run"}']) == 2
  error = capsys.readouterr().err
  assert error.startswith(f'error: train.init_from={tmp_path / name}')
  assert message in error
  assert error.count('\n') == 1
  assert not (tmp_path / 'run').exists()
  cached = any((tmp_path / 'cache').rglob('images.npy'))
  assert cached == (name == 'other.safetensors')  # the others are found before the data is read


def test_a_resumed_run_does_not_need_the_file_again(tmp_path, capsys):
  network = WideCNN(20, stages=2, width=8)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda leaf: (0.1 * rng.random(leaf.shape)).astype(np.float32),
                           abstract_variables(network, (16, 16)))
  path = tmp_path / 'weights.safetensors'
  safetensors.numpy.save_file(to_torch(network, variables), path)
  config = task_b.get_config()
  config.model.update(stages=2, width=8)
  config.data.shapes.update(num_train=40, num_val=21, num_test=21)
  config.data.image_size = 16
  config.train.update(epochs=1, batch_size=20, init_from=str(path))
  config.runtime.cache = str(tmp_path / 'cache')
  config, folder = RunConfig.read(config), RunFolder(tmp_path / 'run')
  results = run_training(config, folder, [])
  assert f'starting from the weights in {path}' in capsys.readouterr().out
  folder.results.unlink()  # as if it had been stopped behind its last step
  path.unlink()
  assert run_training(config, folder, []) == results
  assert 'starting from' not in capsys.readouterr().out

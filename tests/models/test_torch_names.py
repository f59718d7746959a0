"""The variables of each network in PyTorch's names and layouts, and back, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.errors import UserError
from mils_jax.models import DynamicResNet12, ResNet34, WideCNN
from mils_jax.models.torch_names import from_torch, resized_for, to_torch
from mils_jax.models.variables import abstract_variables

NETWORKS = {
    'resnet34': ResNet34(7),
    'dynamic_resnet12': DynamicResNet12(7),
    'wide_cnn': WideCNN(7),
    'two stages, one of stride 1': WideCNN(7, in_channels=5, stages=2, width=32, strides=(1, 2)),
    'merged kernels': DynamicResNet12(7, num_kernels=1, widths=(8, 16), blocks=2, stem_width=8),
    'everything else': DynamicResNet12(7, in_channels=9, conditioning='statistics', imputation='mlp', widths=(8, 16),
                                       attend_presence=True, blocks=2, stem_width=8),
    'linear imputation': WideCNN(7, in_channels=5, imputation='linear', stages=2, width=32),
    'learned values': ResNet34(7, imputation='learned', conditioning='presence', widths=(8, 12), blocks=(1, 2)),
}


def variables_of(network, seed=0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
                      abstract_variables(network, (32, 32)))


@pytest.mark.parametrize('name', NETWORKS)
def test_there_and_back_is_bit_exact(name):
  network = NETWORKS[name]
  variables = variables_of(network)
  arrays = to_torch(network, jax.tree.map(jnp.asarray, variables))
  assert len(arrays) == len(jax.tree.leaves(variables))  # no two have one name
  assert all(array.flags.c_contiguous and array.flags.writeable for array in arrays.values())
  assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
  back = from_torch(network, arrays)
  assert jax.tree.structure(back) == jax.tree.structure(variables)
  jax.tree.map(np.testing.assert_array_equal, back, variables)
  again = to_torch(network, back)
  assert all(np.array_equal(again[key], array) for key, array in arrays.items())


def test_a_scheduled_temperature_is_none_of_the_arrays():
  network = NETWORKS['merged kernels']
  variables = variables_of(network)
  scheduled = variables | {'schedules': {'temperature': np.float32(3.5)}}
  assert to_torch(network, scheduled).keys() == to_torch(network, variables).keys()


def test_resnet34_has_the_names_and_shapes_of_torchvision():
  arrays = to_torch(ResNet34(1000), variables_of(ResNet34(1000)))
  shapes = {name: array.shape for name, array in arrays.items()}
  assert len(shapes) == 182  # 218 in the state dict, less the 36 counters
  assert {name.rpartition('.')[0] for name in shapes if '.1.' not in name and not name.startswith('layer3')} >= {
      'conv1', 'bn1', 'layer1.0.conv1', 'layer1.0.bn2', 'layer2.0.downsample.0', 'layer4.2.conv2', 'fc'}
  assert shapes['conv1.weight'] == (64, 3, 7, 7)
  assert shapes['layer2.0.downsample.0.weight'] == (128, 64, 1, 1)
  assert shapes['layer2.0.downsample.1.running_var'] == (128,)
  assert shapes['layer3.5.conv2.weight'] == (256, 256, 3, 3)
  assert shapes['fc.weight'] == (1000, 512)
  assert not any(name.startswith('layer1') and 'downsample' in name for name in shapes)


def test_a_kernel_is_turned_and_not_only_reshaped():
  network = WideCNN(7, width=16, stages=2)
  variables = variables_of(network)
  arrays, params = to_torch(network, variables), variables['params']
  assert arrays['stages.1.conv.weight'][5, 3, 1, 2] == params['stage2']['conv']['kernel'][1, 2, 3, 5]
  assert arrays['stages.1.gate.excite.weight'][5, 0] == params['stage2']['squeeze_excite']['excite']['kernel'][0, 5]
  network = NETWORKS['everything else']
  variables = variables_of(network)
  arrays, block = to_torch(network, variables), variables['params']['stage2_block2']['conv1']
  assert arrays['blocks.3.conv1.kernels'][2, 5, 3, 1, 0] == block['kernels'][2, 1, 0, 3, 5]
  assert arrays['blocks.3.conv1.expand.weight'][2, 1, 0, 0] == block['attention']['expand']['kernel'][1, 2]
  embedding = variables['params']['statistics']['embedding']['kernel']  # by channel and statistic: no convolution's
  np.testing.assert_array_equal(arrays['statistics.embedding.kernel'], embedding)


def test_counters_of_batches_are_passed_over():
  network = NETWORKS['learned values']
  arrays = to_torch(network, variables_of(network))
  counted = arrays | {'bn1.num_batches_tracked': np.array(3), 'layer2.1.bn2.num_batches_tracked': np.array(3)}
  jax.tree.map(np.testing.assert_array_equal, from_torch(network, counted), from_torch(network, arrays))


def test_another_network_is_refused_with_the_first_names_and_shapes():
  network = ResNet34(7, widths=(8, 12), blocks=(1, 2))
  arrays = to_torch(network, variables_of(network))
  bottleneck = {name: array for name, array in arrays.items() if name != 'layer1.0.conv2.weight'}
  bottleneck['layer1.0.conv1.weight'] = np.zeros((8, 8, 1, 1), np.float32)
  bottleneck['layer1.0.conv3.weight'] = np.zeros((32, 8, 1, 1), np.float32)
  with pytest.raises(UserError) as caught:
    from_torch(network, bottleneck, partial=True)
  assert str(caught.value) == (
      'the arrays are not those of ResNet34: 1 of another shape, first layer1.0.conv1.weight is (8, 8, 1, 1), expected '
      '(8, 8, 3, 3); 1 that it does not have, first layer1.0.conv3.weight (32, 8, 1, 1); 1 of its own missing, first '
      'layer1.0.conv2.weight (8, 8, 3, 3)')


def test_in_part_only_the_head_and_what_plain_networks_lack_may_be_missing():
  network = NETWORKS['learned values']
  arrays = to_torch(network, variables_of(network))
  plain = {name: array for name, array in arrays.items() if not name.startswith(('fc.', 'input.', 'st'))}
  assert len(plain) < len(arrays) - 10
  found = from_torch(network, plain, partial=True)
  assert len(jax.tree.leaves(found)) == len(plain)
  assert 'classifier' not in found['params']
  with pytest.raises(UserError, match=r'of its own missing, first'):
    from_torch(network, plain)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_is_resized_for_the_channels_and_classes_of_the_arrays(name):
  network = NETWORKS[name]
  arrays = to_torch(network, variables_of(network))
  resized = resized_for(network.clone(in_channels=2, num_classes=4), arrays)
  assert (resized.in_channels, resized.num_classes) == (network.in_channels, network.num_classes)

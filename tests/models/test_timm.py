"""ResNet34 as timm itself has it: our weights there, and its own weights here, give the same logits."""

import importlib
import warnings

import jax
import numpy as np
import pytest
import safetensors.numpy

from mils_jax.models import ResNet34
from mils_jax.models.torch_names import from_torch, to_torch
from mils_jax.models.variables import abstract_variables

CLASSES = 7


@pytest.fixture(scope='module')
def timm():
  torch = pytest.importorskip('torch', reason='PyTorch and timm are the reference here')
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of PyTorch's and timm's own, at import
    try:
      return pytest.importorskip('timm', reason='timm is the reference here; it needs the torchvision of its torch')
    except RuntimeError:  # a torchvision built for CUDA beside a torch built for CPU lacks what no ResNet needs
      library = torch.library.Library('torchvision', 'FRAGMENT')
      for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
      return importlib.import_module('timm')


def images(size):
  return np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)


def logits_of_timm(network, pixels):
  import torch

  with torch.no_grad():
    return network.eval()(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize('size', [32, 84])
def test_timm_loads_our_file_and_gives_the_same_logits(timm, size, tmp_path):
  network = ResNet34(CLASSES)
  variables = jax.jit(lambda key: network.init(key, images(32), train=False))(jax.random.key(0))
  rng = np.random.default_rng(0)
  statistics = jax.tree.map(lambda leaf: (leaf + 0.3 * rng.random(leaf.shape)).astype(np.float32),
                            variables['batch_stats'])
  variables = {'params': variables['params'], 'batch_stats': statistics}
  path = tmp_path / 'weights.safetensors'
  safetensors.numpy.save_file(to_torch(network, variables), path)
  theirs = logits_of_timm(timm.create_model('resnet34', num_classes=CLASSES, checkpoint_path=str(path)), images(size))
  ours = network.apply(variables, images(size), train=False)
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize(('size', 'small_images'), [(32, False), (84, False), (32, True)])
def test_the_weights_of_timm_give_the_same_logits_here(timm, size, small_images):
  import torch

  torch.manual_seed(0)
  reference = timm.create_model('resnet34', num_classes=CLASSES)
  if small_images:  # as in the paper's section on CIFAR
    reference.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    reference.maxpool = torch.nn.Identity()
  with torch.no_grad():
    reference.train()(torch.from_numpy(images(32).transpose(0, 3, 1, 2).copy()))  # for statistics of its own
  theirs = logits_of_timm(reference, images(size))
  network = ResNet34(CLASSES, small_images=small_images)
  variables = from_torch(network, {name: value.numpy() for name, value in reference.state_dict().items()})
  assert jax.tree.structure(variables) == jax.tree.structure(abstract_variables(network, (32, 32)))
  ours = network.apply(variables, images(size), train=False)
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_torchvision_has_the_same_names_and_shapes(timm):
  import torchvision

  ours = to_torch(ResNet34(CLASSES), jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32),
                                                  abstract_variables(ResNet34(CLASSES), (32, 32))))
  for create in (timm.models.resnet34, torchvision.models.resnet34):
    reference = create(num_classes=CLASSES)
    shapes = {name: tuple(value.shape) for name, value in reference.state_dict().items()
              if not name.endswith('num_batches_tracked')}
    assert shapes == {name: array.shape for name, array in ours.items()}

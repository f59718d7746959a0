"""Logits, and one step of SGD, of each network against a plain PyTorch statement of the report's description."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.channels import ChannelMapping
from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.models import networks
from mils_jax.models.torch_names import from_torch, to_torch
from mils_jax.training.optim import OptimizerOptions
from mils_jax.training.plan import StepPlan, TrainOptions
from mils_jax.training.state import state_creator
from mils_jax.training.train_step import make_train_step

torch = pytest.importorskip('torch', reason='PyTorch is the reference here')
pytestmark = pytest.mark.filterwarnings('ignore:.*:DeprecationWarning')  # of PyTorch's own, at import

CLASSES, RATE, DECAY = 7, 0.1, 5e-4
MAPPING = ChannelMapping(np.arange(3), np.full(3, 120, np.float32), np.full(3, 60, np.float32))


def state_dict(network, variables):
  """Our variables as the statement's state dict."""
  return {name: torch.from_numpy(array) for name, array in to_torch(network, jax.device_get(variables)).items()}


def images(size, batch=4):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (batch, size, size, 3), np.uint8), rng.integers(0, CLASSES, batch).astype(np.int32)


def as_torch(pixels):
  return torch.from_numpy((pixels.astype(np.float32) - 120) / 60).permute(0, 3, 1, 2).contiguous()


def both(name, size):
  """Our step and its first state, and the statement with the same weights."""
  from benchmarks.pytorch_networks import create

  model = networks()[name](num_classes=CLASSES, axis_name=AXIS)
  options = OptimizerOptions('sgd', momentum=0.9, weight_decay=DECAY, decay_all=True)
  plan = StepPlan(model, MAPPING, TrainOptions(label_smoothing=0.1), options.create(lambda step: RATE), 1)
  state = state_creator(plan, (size, size, 3))()
  rng = np.random.default_rng(1)
  stats = jax.tree.map(lambda x: (x + 0.3 * rng.random(x.shape)).astype(np.float32), state.batch_stats)
  state = state.replace(batch_stats=stats)
  reference = create(name, 'parallel', CLASSES)
  reference.load_state_dict(state_dict(model, state.variables))  # every name of each, and every shape
  return plan, state, reference


def own_weights(name):
  """A statement with weights and statistics that PyTorch drew."""
  from benchmarks.pytorch_networks import create

  torch.manual_seed(2)
  network = create(name, 'parallel', CLASSES).train()
  with torch.no_grad():
    network(as_torch(images(32, 8)[0]))  # for running statistics of its own
  return network.eval()


@pytest.mark.parametrize('size', [32, 84])
@pytest.mark.parametrize('name', ['dynamic_resnet12', 'wide_cnn', 'resnet34'])
def test_logits_are_those_of_the_plain_statement(name, size):
  """With our weights there, and with the statement's own weights here."""
  plan, state, reference = both(name, size)
  pixels, _ = images(size)
  placed, present = MAPPING.apply(jnp.asarray(pixels))
  model = plan.model.clone(axis_name=None)
  ours = model.apply(state.variables, placed, train=False, present=present)
  with torch.no_grad():
    theirs = reference.eval()(as_torch(pixels)).numpy()
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
  other = own_weights(name)
  variables = from_torch(model, {key: value.numpy() for key, value in other.state_dict().items()})
  ours = model.apply(variables, placed, train=False, present=present)
  with torch.no_grad():
    theirs = other(as_torch(pixels)).numpy()
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize('name', ['dynamic_resnet12', 'wide_cnn', 'resnet34'])
def test_one_step_of_sgd_is_that_of_the_plain_statement(name):
  """Gradients through batch statistics, weight decay on every parameter, momentum and label smoothing."""
  size, batch_size = (64, 16) if name == 'resnet34' else (32, 8)  # fewer values make its batch statistics too coarse
  plan, state, reference = both(name, size)
  pixels, labels = images(size, batch_size)
  devices = Devices(1)
  batch = devices.share({'image': pixels, 'label': labels, 'mask': np.ones(len(labels), np.float32)})
  step = devices.parallel(make_train_step(plan, AXIS), replicated=1, shared=1)
  after, _ = step(devices.replicate(state), batch)
  optimizer = torch.optim.SGD(reference.parameters(), RATE, momentum=0.9, weight_decay=DECAY)
  loss = torch.nn.functional.cross_entropy(reference.train()(as_torch(pixels)), torch.from_numpy(labels).long(),
                                           label_smoothing=0.1)
  loss.backward()
  optimizer.step()
  expected = {key: value.detach().numpy() for key, value in reference.named_parameters()}
  before, found = (state_dict(plan.model, one.variables) for one in (state, after))
  for key, value in expected.items():
    change, ours = value - before[key].numpy(), (found[key] - before[key]).numpy()
    if name == 'resnet34':  # rounding grows through 34 layers of batch statistics, in single values most
      assert np.linalg.norm(ours - change) < 3e-2 * np.linalg.norm(change) + 1e-6, key
    else:
      np.testing.assert_allclose(ours, change, atol=2e-3 * np.abs(change).max() + 1e-7, err_msg=key)

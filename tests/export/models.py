"""Models of every kind that need no training: weights drawn at random, none of them zero."""

import jax
import numpy as np

from configs import resnet34, task_a, task_b
from mils_jax import build
from mils_jax.channels import ChannelSpec
from mils_jax.export.compare import BATCHES, ProbeImages
from mils_jax.export.function import ExportedModel
from mils_jax.models.variables import abstract_variables
from mils_jax.restore import Restored
from mils_jax.run_config import RunConfig
from mils_jax.training.record import ModelSpec

NARROW = {
    'wide_cnn': (task_b, {'stages': 2, 'width': 16}),
    'dynamic_resnet12': (task_a, {'num_kernels': 2, 'widths': (8, 16), 'blocks': 1, 'stem_width': 8}),
    'resnet34': (resnet34, {'widths': (8, 16), 'blocks': (1, 1)}),
}
OPTIONS = ({'imputation': 'learned', 'rescale': True}, {'imputation': 'mlp', 'conditioning': 'presence'},
           {'imputation': 'linear', 'conditioning': 'statistics'})
CHANNELS, SIZE = ('A', 'B', 'C', 'D'), (20, 24)


def drawn_model(network, options):
  """A narrow network of this name with these options, for images of 20 x 24 in four channels and six classes."""
  task, fields = NARROW[network]
  config = task.get_config()
  config.model.update({**fields, **options})
  config = RunConfig.read(config)
  channels = ChannelSpec(CHANNELS, ('',) * 4, (100.0,) * 4, (50.0,) * 4)
  spec = ModelSpec(channels, tuple('abcdef'), SIZE, '', CHANNELS)
  model = build.build_model(config.model, 'float32', 'cpu', 4, 6, SIZE)
  random = np.random.default_rng(0)

  def draw(path, leaf):
    if path[-1].key == 'covariance':
      return np.cov(random.normal(size=(len(CHANNELS), 9))).astype(np.float32)
    if len(leaf.shape) < 2:
      return (0.5 + np.abs(random.normal(0, 0.1, leaf.shape))).astype(np.float32)
    return random.normal(0, np.prod(leaf.shape[-4:-1]) ** -0.5, leaf.shape).astype(np.float32)

  variables = jax.tree_util.tree_map_with_path(draw, abstract_variables(model, SIZE))
  return ExportedModel(Restored(config, model, variables, spec, 0))


def drawn_images():
  values = np.random.default_rng(1).uniform(0, 255, (max(BATCHES), *SIZE, 4)).astype(np.float32)
  return ProbeImages(values, CHANNELS, np.ones((len(values), 4), bool), 'drawn images')


def check_any_batch_size(model, logits):
  """That an export of three channels of 16 x 16 gives the model's logits in batches of one and of three."""
  images, present = np.full((3, 16, 16, 3), 100, np.float32), np.ones((3, 3), bool)
  expected = model.function()(images, present)
  for batch in (1, 3):
    np.testing.assert_allclose(logits(images[:batch], present[:batch]), expected[:batch], atol=1e-5)

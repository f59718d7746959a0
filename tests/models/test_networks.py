import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.models import DynamicResNet12, ResNet34, WideCNN, networks
from mils_jax.models.flops import as_defined, count_multiply_adds, count_parameters

REPORTED = [  # network, parameters, multiply-adds at 84x84 with mix outputs: the report's own figures
    (DynamicResNet12(100, mix='outputs'), 17_446_699, 1_314_665_159),
    (WideCNN(100), 2_068_132, 459_701_248),
    (ResNet34(100), 21_335_972, 612_328_192),
]
SMALL = [
    DynamicResNet12(5, widths=(8, 16), stem_width=8, blocks=1),
    WideCNN(5, width=16),
    WideCNN(5, stages=2, width=16, strides=(1, 2)),
    ResNet34(5, widths=(8, 16), blocks=(1, 1)),
    ResNet34(5, widths=(8, 16), blocks=(1, 1), small_images=True),
]


def abstract(model, *image_shape):
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images), images


@pytest.mark.parametrize(('model', 'parameters', 'multiply_adds'), REPORTED, ids=lambda value: type(value).__name__)
def test_counts_are_the_reports(model, parameters, multiply_adds):
  variables, images = abstract(model, 84, 84, 3)
  assert sum(count_parameters(variables['params']).values()) == parameters
  counted = count_multiply_adds(lambda v, x: as_defined(model).apply(v, x, train=False), variables, images)
  assert sum(counted.values()) == multiply_adds
  assert set(counted) == {name for name in variables['params'] if name != 'stem_norm'}


@pytest.mark.parametrize('channels', [1, 2])
def test_fewer_channels_cost_the_same_because_they_are_padded(channels):
  model = REPORTED[0][0]
  variables, _ = abstract(model, 84, 84, 3)
  images = jax.ShapeDtypeStruct((1, 84, 84, channels), jnp.float32)
  counted = count_multiply_adds(lambda v, x: as_defined(model).apply(v, x, train=False), variables, images)
  assert sum(counted.values()) == 1_314_665_159


def test_the_stem_for_small_images_leaves_every_position_to_the_first_stage():
  usual, small = ResNet34(100), ResNet34(100, small_images=True)
  counts = []
  for model in (usual, small):
    variables, images = abstract(model, 32, 32, 3)
    counted = count_multiply_adds(partial(as_defined(model).apply, train=False), variables, images)
    counts.append((counted, sum(count_parameters(variables['params']).values())))
  (counted, parameters), (small_counted, small_parameters) = counts
  assert small_parameters == parameters - (7 * 7 - 3 * 3) * 3 * 64
  assert small_counted['stem_conv'] == 32 * 32 * 3 * 3 * 3 * 64
  assert small_counted['stage1_block1'] == 32 * 32 * 2 * 9 * 64 * 64 == 16 * counted['stage1_block1']


def test_mixed_kernels_take_each_convolution_once_plus_the_mixing():
  model = DynamicResNet12(100, mix='kernels')
  variables, images = abstract(model, 84, 84, 3)
  counted = sum(count_multiply_adds(partial(as_defined(model).apply, train=False), variables, images).values())
  attention_and_classifier = 1_314_665_159 - 4 * 328_629_248
  assert counted == 328_629_248 + 17_292_032 + attention_and_classifier


@pytest.mark.parametrize('model', [
    pytest.param(row[0], marks=() if isinstance(row[0], WideCNN) else pytest.mark.slow) for row in REPORTED],
    ids=lambda model: type(model).__name__)
def test_every_parameter_array_gets_a_gradient(model):
  images = jax.random.normal(jax.random.key(0), (8, 32, 32, 3))
  variables = jax.jit(lambda: model.init(jax.random.key(1), images[:1], train=False))()

  @jax.jit
  def gradients(params):
    def loss(params):
      logits, _ = model.apply({**variables, 'params': params}, images, train=True, mutable=['batch_stats'])
      return (jax.nn.log_softmax(logits)[:, 0]).sum()
    return jax.grad(loss)(params)

  without = [jax.tree_util.keystr(path) for path, leaf in
             jax.tree_util.tree_leaves_with_path(gradients(variables['params'])) if not np.abs(leaf).max() > 0]
  assert without == []


@pytest.mark.parametrize('model', SMALL, ids=lambda model: type(model).__name__)
class TestEveryNetwork:

  def apply(self, model, *arguments, **options):
    return jax.jit(lambda *arguments: model.apply(*arguments, train=False, **options))(*arguments)

  def variables(self, model):
    return jax.jit(lambda: model.init(jax.random.key(1), jnp.zeros((1, 16, 16, 3)), train=False))()

  def test_garbage_in_a_missing_channel_changes_no_logit(self, model):
    variables = self.variables(model)
    images = jax.random.normal(jax.random.key(2), (3, 16, 16, 3))
    present = jnp.array([[True, False, True], [True, True, True], [False, True, False]])
    clean = self.apply(model, variables, images, present=present)
    garbage = jnp.where(present[:, None, None, :], images, jnp.nan)
    np.testing.assert_array_equal(self.apply(model, variables, garbage, present=present), clean)
    assert np.abs(clean - self.apply(model, variables, images)).max() > 0

  def test_missing_channels_are_zero_channels_at_the_end(self, model):
    variables = self.variables(model)
    images = jax.random.normal(jax.random.key(2), (2, 16, 16, 2))
    padded = jnp.concatenate([images, jnp.zeros((2, 16, 16, 1))], axis=-1)
    np.testing.assert_array_equal(self.apply(model, variables, images), self.apply(model, variables, padded))

  def test_padding_that_is_masked_changes_neither_loss_nor_gradient_nor_statistics(self, model):
    variables = self.variables(model)
    images = jax.random.normal(jax.random.key(2), (8, 16, 16, 3))

    def loss(params, images, mask):
      logits, updates = model.apply({**variables, 'params': params}, images, train=True, mask=mask,
                                    mutable=['batch_stats'])
      return (jax.nn.log_softmax(logits)[:, 1] * mask).sum(), updates

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    short = run(variables['params'], images[:6], jnp.ones(6))
    padded = run(variables['params'], images, jnp.array([1.0, 1, 1, 1, 1, 1, 0, 0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=2e-3), short, padded)

  def test_logits_are_float32_when_computing_in_bfloat16(self, model):
    variables = self.variables(model)
    images = jax.random.normal(jax.random.key(2), (2, 16, 16, 3))
    rounded = self.apply(model.clone(dtype=jnp.bfloat16), variables, images)
    exact = self.apply(model, variables, images)
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(rounded - exact).max() < 0.1 * max(1.0, np.abs(exact).max())


def test_batch_axis_devices_share_their_statistics():
  model = SMALL[1].clone(axis_name='batch')
  images = jax.random.normal(jax.random.key(2), (4, 16, 16, 3))
  variables = jax.jit(lambda: model.init(jax.random.key(1), images[:1], train=False))()
  mask = jnp.array([1.0, 1, 1, 0])

  def run(model, images, mask):
    return model.apply(variables, images, train=True, mask=mask, mutable=['batch_stats'])

  together, statistics = jax.jit(lambda x, w: run(model.clone(axis_name=None), x, w))(images, mask)
  split, split_statistics = jax.jit(jax.vmap(lambda x, w: run(model, x, w), axis_name='batch'))(
      images.reshape(2, 2, 16, 16, 3), mask.reshape(2, 2))
  np.testing.assert_allclose(split.reshape(4, -1)[:3], together[:3], atol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-5), split_statistics, statistics)


def test_wide_cnn_has_as_many_stages_as_asked_for():
  names = {stages: set(abstract(WideCNN(5, stages=stages, width=16), 32, 32, 3)[0]['params']) for stages in (2, 3, 4)}
  assert names[2] == {'stage1', 'stage2', 'classifier'}
  assert names[4] - names[3] == {'stage4'}
  with pytest.raises(ValueError, match='stages=5'):
    abstract(WideCNN(5, stages=5), 32, 32, 3)


def test_dropout_acts_in_training_only():
  model = WideCNN(5, width=16, dropout=0.5)
  images = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
  variables = model.init(jax.random.key(1), images, train=False)
  first, second = (model.apply(variables, images, train=True, mutable=['batch_stats'],
                               rngs={'dropout': jax.random.key(seed)})[0] for seed in (0, 1))
  assert np.abs(first - second).max() > 0
  np.testing.assert_array_equal(model.apply(variables, images, train=False),
                                model.clone(dropout=0.0).apply(variables, images, train=False))


def test_the_registry_names_every_network():
  assert {'dynamic_resnet12': DynamicResNet12, 'wide_cnn': WideCNN, 'resnet34': ResNet34} == networks()


def test_the_defaults_are_the_reports():
  shared = {'in_channels': 3, 'imputation': 'zero', 'rescale': False, 'implementation': 'auto',
            'dtype': jnp.float32, 'axis_name': None}
  own = {
      'dynamic_resnet12': {'widths': (64, 128, 256), 'blocks': 3, 'stem_width': 64, 'num_kernels': 4,
                           'temperature': 30.0, 'mix': 'auto', 'attend_presence': False},
      'wide_cnn': {'stages': 4, 'width': 256, 'strides': (2, 2, 2, 2), 'kernel_sizes': (7, 3, 3, 3), 'dropout': 0.0,
                   'drop_block': 0.0, 'drop_block_size': 5},
      'resnet34': {'widths': (64, 128, 256, 512), 'blocks': (3, 4, 6, 3)}}
  for name, network in networks().items():
    fields = {field.name: field.default for field in dataclasses.fields(network)}
    assert {field: fields[field] for field in (*shared, *own[name])} == shared | own[name]


def equations(jaxpr):
  """All equations of a jaxpr and of those inside of it."""
  for equation in jaxpr.eqns:
    yield equation
    inner = (getattr(value, 'jaxpr', value) for values in equation.params.values()
             for value in (values if isinstance(values, tuple | list) else (values,)))
    for own in inner:
      if hasattr(own, 'eqns'):
        yield from equations(own)


@pytest.mark.parametrize('model', [
    *SMALL, SMALL[0].clone(num_kernels=2, conditioning='presence', imputation='learned'),
    SMALL[0].clone(num_kernels=2, conditioning='statistics')], ids=lambda model: type(model).__name__)
def test_gradients_of_accelerators_are_summed_over_pixels_in_float32(model):
  """On the newest GPUs a sum of bfloat16 stays one; on CPUs XLA takes float32 for it."""
  model = model.clone(dtype=jnp.bfloat16, implementation='gpu')
  images, present = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32), jax.ShapeDtypeStruct((2, 3), bool)
  variables = jax.eval_shape(lambda x, there: model.init(jax.random.key(0), x, train=False, present=there),
                             images, present)
  rest = {name: value for name, value in variables.items() if name != 'params'}

  def loss(params, rest, x, there):
    logits, _ = model.apply({'params': params, **rest}, x, train=True, present=there, mutable=True,
                            rngs={'dropout': jax.random.key(0)})
    return logits.astype(jnp.float32).sum()

  jaxpr = jax.make_jaxpr(jax.grad(loss))(variables['params'], rest, images, present).jaxpr
  sums = [(equation.invars[0].aval, equation.params['axes']) for equation in equations(jaxpr)
          if equation.primitive.name == 'reduce_sum' and equation.invars[0].aval.ndim >= 4]
  over_pixels = [(value.dtype, value.shape, axes) for value, axes in sums
                 if math.prod(value.shape[axis] for axis in axes if axis in (1, 2)) > 1]
  assert over_pixels
  assert [found for found in over_pixels if found[0] == jnp.bfloat16] == []

"""Properties of every network under every way to treat missing channels, in evaluation."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.channels import ChannelSpec
from mils_jax.models import DynamicResNet12, ResNet34, WideCNN
from mils_jax.models.flops import count_parameters
from mils_jax.models.variables import abstract_variables
from mils_jax.nn import DynamicConv, InputChannels
from mils_jax.nn.conditioning import STATISTICS

CHANNELS = 4
SIZE = 12
BATCH = 5
SHAPES = ((BATCH, SIZE, SIZE, CHANNELS), (3, 9, 14, 2), (2, 16, 8, 9))  # batch, height, width, channels; each has one
OPTIONS = [{'imputation': imputation, 'rescale': rescale}
           for imputation in ('zero', 'learned', 'mlp') for rescale in (False, True)]
LINEAR = {'imputation': 'linear', 'rescale': False}
CONDITIONED = [{'conditioning': 'presence'}, {'conditioning': 'statistics', 'imputation': 'learned', 'rescale': True}]
SMALL = [
  functools.partial(DynamicResNet12, 3, widths=(8,), stem_width=8, blocks=1),
  functools.partial(WideCNN, 3, stages=2, width=16),
  functools.partial(ResNet34, 3, widths=(8,), blocks=(1,)),
]
# Each pair of network and imputation, of imputation and rescaling, of attention and either; not each triple.
NETWORKS = [
  *(functools.partial(SMALL[0], attend_presence=number % 2 == 1, **options)
    for number, options in enumerate(OPTIONS[::-1] + OPTIONS[1:3])),
  *(functools.partial(SMALL[1], **options) for options in (OPTIONS[0], OPTIONS[3], OPTIONS[4])),
  *(functools.partial(SMALL[2], **options) for options in (OPTIONS[1], OPTIONS[2], OPTIONS[5])),
  *(functools.partial(network, **options) for network in SMALL for options in (*CONDITIONED, LINEAR)),
]


def drawn(path, leaf):
  """A variable about where training leaves it, none of them 0; drawing by init compiles a program for each network."""
  values = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode())).normal(size=leaf.shape)
  name = path[-1].key
  if name == 'covariance':
    return np.cov(np.random.default_rng(0).normal(size=(len(values), len(values) + 3))).astype(np.float32)
  if name in ('scale', 'var'):
    return (1 + 0.1 * np.abs(values)).astype(np.float32)
  is_kernel = name.startswith('kernel')  # (..., inputs, outputs), after K where it is one of K kernels
  inputs = np.prod(leaf.shape[name == 'kernels':-1]) if is_kernel else 100
  return (values / np.sqrt(inputs)).astype(np.float32)


@functools.cache
def compiled(number, in_channels=CHANNELS, size=(SIZE, SIZE)):
  """The network's apply with drawn weights; each once."""
  model = NETWORKS[number](in_channels=in_channels)
  shapes = abstract_variables(model, size)
  variables = {**jax.tree_util.tree_map_with_path(drawn, shapes), 'schedules': {'temperature': jnp.float32(2.0)}}
  return jax.jit(lambda images, present: model.apply(variables, images, train=False, present=present))


def inputs(seed, shape=SHAPES[0]):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@st.composite
def cases(draw):
  """A network, the inputs of a batch, and which channels each of them has."""
  number = draw(st.integers(0, len(NETWORKS) - 1))
  batch, *size, in_channels = shape = SHAPES[number % len(SHAPES)]
  row = st.lists(st.booleans(), min_size=in_channels, max_size=in_channels).filter(any)
  present = draw(st.lists(row, min_size=batch, max_size=batch))
  images = inputs(draw(st.integers(0, 1000)), shape)
  # Compiled by the test and not here, where hypothesis counts the seconds.
  def apply(*given):
    return compiled(number, in_channels, tuple(size))(*given)

  return apply, images, np.array(present)


many = settings(max_examples=25, deadline=None)


@many
@given(case=cases(), seed=st.integers(0, 1000))
def test_what_stands_in_missing_channels_changes_no_logit(case, seed):
  apply, images, present = case
  garbage = np.random.default_rng(seed).choice([np.nan, np.inf, -1e30, 7.0], images.shape).astype(np.float32)
  spoilt = np.where(present[:, None, None, :], images, garbage)
  logits = apply(images, present)
  np.testing.assert_array_equal(logits, apply(spoilt, present))
  assert np.isfinite(logits).all()


@many
@given(case=cases())
def test_samples_with_different_subsets_get_the_logits_that_they_get_alone(case):
  apply, images, present = case
  together = apply(images, present)
  for sample in range(len(images)):
    alone = apply(images[sample:sample + 1], present[sample:sample + 1])
    np.testing.assert_allclose(alone[0], together[sample], rtol=1e-6, atol=1e-5)


@many
@given(case=cases(), random=st.randoms(use_true_random=False))
def test_the_order_of_named_channels_changes_no_logit(case, random):
  apply, images, present = case
  names = [f'channel{place}' for place in range(images.shape[-1])]
  numbers = tuple(range(1, len(names) + 1))
  spec = ChannelSpec(tuple(names), ('',) * len(names), numbers, numbers)
  values = dict(zip(names, np.moveaxis(images, -1, 0), strict=True))

  def logits(given):
    placed, present = spec.map_from(given).apply(jnp.stack([values[name] for name in given], axis=-1))
    return apply(placed, present)

  kept = [name for name, there in zip(names, present[0], strict=True) if there]
  np.testing.assert_array_equal(logits(kept), logits(random.sample(kept, len(kept))))


@many
@given(case=cases())
def test_the_full_mask_equals_no_mask(case):
  apply, images, present = case
  # Two programs, of which each may round the last bit in its own way.
  np.testing.assert_allclose(apply(images, np.ones_like(present)), apply(images, None), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize('number', range(len(NETWORKS)))
def test_unnamed_channels_fill_the_first_input_channels_and_the_rest_is_missing(number):
  batch, *size, in_channels = shape = SHAPES[number % len(SHAPES)]
  images, apply = inputs(0, shape), compiled(number, in_channels, tuple(size))
  given = in_channels // 2
  present = np.repeat([np.arange(in_channels) < given], batch, 0)
  np.testing.assert_allclose(apply(images[..., :given], None), apply(images, present), rtol=1e-6, atol=1e-6)


def predict_by_numpy(statistics, values, present):
  """Ridge regression of what is missing on what is there."""
  mean, covariance = statistics['mean'], statistics['covariance']
  predicted = np.zeros_like(values)
  for sample, there in enumerate(present):
    own = covariance[np.ix_(there, there)]
    weights = np.linalg.solve(own + 0.01 * np.diag(np.diag(own)), covariance[np.ix_(there, ~there)])
    predicted[sample][..., ~there] = mean[~there] + (values[sample][..., there] - mean[there]) @ weights
  return predicted


def fill_by_numpy(params, statistics, imputation, rescale, images, present):
  values = np.where(present[:, None, None, :], images.astype(np.float64), 0)
  if imputation == 'linear':
    return values + predict_by_numpy(statistics, values, present)
  if rescale:
    values *= CHANNELS / present.sum(1)[:, None, None, None]
  if imputation == 'learned':
    return np.where(present[:, None, None, :], values, params['value'])
  if imputation == 'mlp':
    mask = np.broadcast_to(present[:, None, None, :], values.shape)
    kernel = np.concatenate([params['hidden']['kernel'], params['hidden_mask']['kernel']])
    hidden = np.maximum(np.concatenate([values, mask], -1) @ kernel + params['hidden_mask']['bias'], 0)
    return np.where(mask, values, hidden @ params['predict']['kernel'] + params['predict']['bias'])
  return values


@pytest.mark.parametrize('options', [*OPTIONS, LINEAR], ids=str)
def test_missing_channels_are_filled_as_float64_numpy_fills_them(options):
  images = inputs(3)
  present = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [1, 1, 0, 1]], bool)
  module = InputChannels(CHANNELS, **options)
  variables = jax.tree_util.tree_map_with_path(drawn, module.init(jax.random.key(0), images))
  filled, seen = module.apply(variables, images, present)
  variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
  expected = fill_by_numpy(variables.get('params'), variables.get('batch_stats', {}).get('linear'), **options,
                           images=images, present=present)
  np.testing.assert_allclose(filled, expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(seen, present)


@pytest.mark.parametrize('imputation', ['learned', 'mlp'])
def test_filling_is_learned_from_the_samples_that_lack_channels(imputation):
  model = WideCNN(3, CHANNELS, stages=2, width=16, imputation=imputation)
  variables = model.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, CHANNELS)), train=False)

  @jax.jit
  def gradients(present):
    def loss(params):
      logits, _ = model.apply({**variables, 'params': params}, inputs(0), train=True, present=present,
                              mutable=['batch_stats'])
      return jax.nn.log_softmax(logits)[:, 0].mean()
    return jax.grad(loss)(variables['params'])['input']

  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients(np.eye(BATCH, CHANNELS) < 1)))
  assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(gradients(np.ones((BATCH, CHANNELS), bool))))


def test_only_what_is_asked_for_adds_parameters():
  def parameters(**options):
    model = DynamicResNet12(100, **options)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    return sum(count_parameters(variables['params']).values())

  assert parameters(rescale=True) == 17_446_699
  assert parameters(imputation='learned') == 17_446_699 + 3
  assert parameters(imputation='mlp') == 17_446_699 + 3 * 32 + (3 * 32 + 32) + (32 * 3 + 3)
  films = 4 * (3 * 32 + 32) + (32 + 1) * 2 * (64 + 64 + 128 + 256)  # after the stem and three stages
  assert parameters(conditioning='presence') == 17_446_699 + films
  embedding = 3 * STATISTICS * (16 + 32 * 8 + 8)
  layers = (3 + 3 * STATISTICS * 8 + 1) * 256 + (256 + 1) * 256 + (256 + 1) * 100
  assert parameters(conditioning='statistics') == 17_446_699 + films + embedding + layers
  assert parameters(attend_presence=True) == 17_446_699 + 3  # three more inputs of one hidden unit


def test_a_single_kernel_needs_no_attention_and_is_a_plain_convolution():
  images = inputs(0)
  module = DynamicConv(features=6, in_channels=CHANNELS, num_kernels=1)
  variables = module.init(jax.random.key(0), images)
  assert set(variables['params']) == {'kernels'}
  expected = jax.lax.conv_general_dilated(images, variables['params']['kernels'][0], (1, 1), 'SAME',
                                          dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  np.testing.assert_allclose(module.apply(variables, images), expected, rtol=1e-4, atol=1e-4)


def test_the_temperature_of_the_checkpoint_takes_the_fields_place():
  images = inputs(0)
  cold, warm = (DynamicResNet12(3, CHANNELS, widths=(8,), stem_width=8, blocks=1, temperature=t) for t in (0.1, 30.0))
  variables = warm.init(jax.random.key(0), images, train=False)
  scheduled = {**variables, 'schedules': {'temperature': jnp.float32(0.1)}}
  np.testing.assert_array_equal(warm.apply(scheduled, images, train=False), cold.apply(variables, images, train=False))
  assert np.abs(warm.apply(scheduled, images, train=False) - warm.apply(variables, images, train=False)).max() > 1e-4

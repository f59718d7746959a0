import dataclasses
import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mils_jax.channel_dropout import ChannelDropout
from mils_jax.channels import ChannelSpec
from mils_jax.data.augment import Augmentation
from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.errors import UserError
from mils_jax.models import DynamicResNet12, WideCNN
from mils_jax.nn import BatchNorm
from mils_jax.random_streams import stream_key
from mils_jax.training import train_step as steps
from mils_jax.training.optim import OptimizerOptions
from mils_jax.training.state import NonFinite
from mils_jax.training.train_step import make_train_step
from tests.plans import first_state, step_plan

MAPPING = ChannelSpec(('R', 'G', 'B'), ('',) * 3, (100.0,) * 3, (50.0,) * 3).map_from(['R', 'G', 'B'])
NETWORKS = {
    'dynamic': DynamicResNet12(5, widths=(8, 16), stem_width=8, blocks=1, axis_name=AXIS),
    'wide': WideCNN(5, stages=2, width=16, axis_name=AXIS),
}


def make(model, augmentation=Augmentation(), learning_rate=0.05):  # noqa: B008 (frozen)
  plan = step_plan(model, MAPPING, optax.sgd(learning_rate, 0.9), augmentation=augmentation)
  return make_train_step(plan, AXIS), first_state(plan)


def batch(size, count=None, seed=0):
  rng = np.random.default_rng(seed)
  mask = np.zeros(size, np.float32)
  mask[:size if count is None else count] = 1
  return {'image': rng.integers(0, 255, (size, 16, 16, 3), np.uint8), 'label': rng.integers(0, 5, size, np.int32),
          'mask': mask}


@pytest.fixture(scope='module')
def four_devices():
  if jax.local_device_count() < 4:
    pytest.skip('needs four devices')


def run(step, state, devices, batches):
  state = devices.replicate(state)
  compiled = devices.parallel(step, replicated=1, shared=1)
  for values in batches:
    state, signals = compiled(state, devices.share(values))
  return jax.device_get(state), jax.device_get(signals)


@pytest.mark.parametrize('network', [pytest.param('dynamic', marks=pytest.mark.slow), 'wide'])
def test_1_2_and_4_devices_train_the_same(network, four_devices):
  """With random crops and flips, and a last batch whose padding leaves one device with no example at all."""
  step, state = make(NETWORKS[network], Augmentation(crop_padding=2, horizontal_flip=True))
  batches = [batch(16, seed=1), batch(16, seed=2), batch(16, count=9, seed=3)]
  alone, _ = run(step, state, Devices(1), batches)
  for count in (2, 4):
    shared, _ = run(step, state, Devices(count), batches)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3, rtol=2e-3), shared, alone)
    assert shared.sums.count == alone.sums.count == 16 + 16 + 9


def test_the_loss_is_the_smoothed_cross_entropy_of_the_true_examples():
  step, state = make(NETWORKS['wide'])
  values = batch(8, count=5)
  after, (sums, _) = run(step, state, Devices(1), [values])
  images, present = MAPPING.apply(jnp.asarray(values['image'][:5]))
  model = NETWORKS['wide'].clone(axis_name=None)
  logits, _ = model.apply(state.variables, images, train=True, present=present, mutable=['batch_stats'])
  log_probabilities = np.asarray(jax.nn.log_softmax(logits), np.float64)
  targets = 0.9 * np.eye(5)[values['label'][:5]] + 0.1 / 5
  np.testing.assert_allclose(sums.loss, -(targets * log_probabilities).sum(), rtol=1e-4)
  assert sums.correct == (np.argmax(logits, axis=1) == values['label'][:5]).sum()
  assert sums.count == 5
  assert after.step == 1


def test_a_channel_that_an_image_lacks_is_missing_in_training():
  step, state = make(NETWORKS['wide'])
  present = np.random.default_rng(1).random((8, 3)) < 0.6
  present[:, 1] = True
  values = batch(8)
  _, (sums, _) = run(step, state, Devices(1), [{**values, 'present': present}])
  images, there = MAPPING.apply(jnp.asarray(values['image']), jnp.asarray(present))
  model = NETWORKS['wide'].clone(axis_name=None)
  logits, _ = model.apply(state.variables, images, train=True, present=there, mutable=['batch_stats'])
  targets = 0.9 * np.eye(5)[values['label']] + 0.1 / 5
  expected = -(targets * np.asarray(jax.nn.log_softmax(logits), np.float64)).sum()
  np.testing.assert_allclose(sums.loss, expected, rtol=1e-4)
  _, (all_there, _) = run(step, state, Devices(1), [values])
  assert abs(all_there.loss - expected) > 1e-2


def test_sums_start_anew_with_each_epoch():
  step, state = make(NETWORKS['wide'])
  counts = []
  devices = Devices(1)
  state, compiled = devices.replicate(state), devices.parallel(step, replicated=1, shared=1)
  for number in range(4):
    state, (sums, _) = compiled(state, devices.share(batch(4, seed=number)))
    counts.append(int(sums.count))
  assert counts == [4, 8, 12, 4]


def test_training_lowers_the_loss():
  step, state = make(NETWORKS['wide'])
  devices = Devices(1)
  state, compiled = devices.replicate(state), devices.parallel(step, replicated=1, shared=1)
  losses = []
  for _ in range(21):
    state, (sums, _) = compiled(state, devices.share(batch(16)))
    losses.append(float(sums.loss / sums.count))
  assert losses[-1] < 0.75 * losses[0]


def test_the_first_non_finite_step_is_recorded():
  step, state = make(NETWORKS['wide'], learning_rate=1e20)
  after, (_, nonfinite) = run(step, state, Devices(1), [batch(8, seed=seed) for seed in range(5)])
  assert 1 <= nonfinite.count <= 4
  assert after.not_finite == nonfinite


class Sharp(nn.Module):
  """A network that gives all-white images an infinite or NaN gradient."""

  kind: str
  num_classes: int = 5
  in_channels: int = 3

  @nn.compact
  def __call__(self, images, train, present=None, mask=None):
    dark = jnp.where((images > 3).all(), 0.0, 1.0)
    scale = self.param('scale', nn.initializers.ones, ())
    logits = NETWORKS['wide'].clone(parent=self)(images, train, present, mask)
    if self.kind == 'loss':
      return logits + jnp.where(dark > 0, 0.0, jnp.nan)
    return logits + jnp.sqrt(dark * scale) if self.kind == 'gradient' else logits


@pytest.mark.parametrize('kind', NonFinite.KINDS)
def test_a_non_finite_value_is_named_and_skipped(kind):
  """A batch that is fine, one that spoils the named quantity, and again one that is fine."""
  def spoil(updates, count, params=None):
    factor = jnp.where((count == 1) & (kind == 'parameter'), jnp.inf, 1.0)
    return jax.tree.map(lambda update: update * factor, updates), count + 1

  optimizer = optax.chain(optax.sgd(0.05, 0.9),
                          optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), spoil))
  plan = step_plan(Sharp(kind), MAPPING, optimizer, on_nonfinite='skip')
  step, state = make_train_step(plan, AXIS), first_state(plan)
  wrong = {**batch(8), 'image': np.full((8, 16, 16, 3), 255, np.uint8)}
  before, _ = run(step, state, Devices(1), [batch(8, seed=1)])
  after, (sums, nonfinite) = run(step, state, Devices(1), [batch(8, seed=1), wrong])
  assert (nonfinite.count, nonfinite.step, NonFinite.KINDS[nonfinite.kind]) == (1, 1, kind)
  assert after.step == 2
  assert sums.count == 8
  for name in ('params', 'batch_stats'):
    jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(before, name))
  last, (sums, nonfinite) = run(step, state, Devices(1), [batch(8, seed=1), wrong, batch(8, seed=2)])
  assert (sums.count, nonfinite.count) == (16, 1)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('sizes', [(3,), (70_000,), (3, 2, 70_000, 65_536)])
def test_a_single_non_finite_number_is_found_in_any_array(sizes, wrong):
  tree = {str(number): jnp.full(size, 3e38) for number, size in enumerate(sizes)}
  assert steps.all_finite(tree)
  for name, leaf in tree.items():
    assert not steps.all_finite(tree | {name: leaf.at[-1].set(wrong)})


@pytest.mark.parametrize('platform', ['cpu', 'cuda', 'tpu'])
@pytest.mark.parametrize('network', NETWORKS)
def test_the_step_is_lowered_for_every_platform(network, platform):
  """As jit of vmap over the same axis: a pmapped function cannot be exported. The platform is named, not JAX's own."""
  model = NETWORKS[network].clone(dtype=jnp.bfloat16, implementation={'cuda': 'gpu'}.get(platform, platform))
  step, state = make(model, Augmentation(crop_padding=4, horizontal_flip=True))
  shared = jax.tree.map(lambda value: value.reshape(2, 4, *value.shape[1:]), batch(8))
  whole = jax.jit(jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name=AXIS))
  exported = jax.export.export(whole, platforms=[platform])(state, shared)
  assert exported.platforms == (platform,)
  assert ('stablehlo.convolution' in exported.mlir_module()) == (platform != 'cpu')


def test_a_batch_that_the_devices_cannot_share_is_refused(four_devices):
  with pytest.raises(UserError, match='batch_size=6: must be a positive multiple of the 4 devices'):
    Devices(4).check_batch_size(6)
  with pytest.raises(UserError, match='9 asked for, but this host has'):
    Devices(9)


@pytest.mark.parametrize(('devices', 'mixing'), [
    pytest.param(1, {}, marks=pytest.mark.slow), (2, {}), (1, {'mixup_alpha': 1.0}),
    pytest.param(1, {'cutmix_alpha': 1.0}, marks=pytest.mark.slow)])
def test_a_step_with_sampled_channels_is_one_on_images_whose_other_channels_were_never_there(devices, mixing):
  """Mixed images too: they are mixed first, so that what a mixed image lacks comes from neither of its two."""
  dropout, augmentation = ChannelDropout('hierarchical'), Augmentation(**mixing)
  values = {**batch(8, seed=1), 'label': np.full(8, 2, np.int32)}  # which stay as they are when they are mixed
  kept = dropout(stream_key(3, 'channels', 1), jnp.ones((8, 3), bool), jnp.arange(8))
  assert not kept.all()
  plan = step_plan(NETWORKS['wide'], MAPPING, augmentation=augmentation, channel_dropout=dropout)
  state = first_state(plan).replace(step=jnp.int32(1))  # each step draws anew
  sampled, _ = run(make_train_step(plan, AXIS), state, Devices(devices), [values])
  mixed, _ = augmentation(stream_key(3, 'augment', 1), jnp.asarray(values['image']), jax.nn.one_hot(values['label'], 5),
                          jnp.asarray(values['mask']), jnp.arange(8))
  # The mean normalises to 0, which is what a missing channel holds.
  cleared = {**values, 'image': np.where(np.asarray(kept)[:, None, None, :], mixed, np.float32(MAPPING.mean))}
  plain = make_train_step(step_plan(NETWORKS['wide'], MAPPING), AXIS)
  expected, _ = run(plain, state, Devices(devices), [cleared])
  for left, right in zip(jax.tree.leaves(sampled), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_the_state_carries_the_temperature_that_its_last_step_used():
  model = NETWORKS['dynamic']
  schedules = {'temperature': optax.linear_schedule(30.0, 1.0, 2)}
  plan = step_plan(model, MAPPING, optax.sgd(0.05), schedules=schedules)
  step, state = make_train_step(plan, AXIS), first_state(plan)
  assert float(state.schedules['temperature']) == 30
  after_one, _ = run(step, state, Devices(1), [batch(8)])
  after_two, _ = run(step, state, Devices(1), [batch(8), batch(8, seed=1)])
  assert [float(found.schedules['temperature']) for found in (after_one, after_two)] == [30.0, 15.5]
  plain = make_train_step(step_plan(model.clone(temperature=15.5), MAPPING, optax.sgd(0.05)), AXIS)
  expected, _ = run(plain, after_one, Devices(1), [batch(8, seed=1)])
  for left, right in zip(jax.tree.leaves(after_two.params), jax.tree.leaves(expected.params), strict=True):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_the_averaged_weights_are_evaluated_and_training_continues_from_the_others():
  """The average takes (1 + step) / (10 + step) of itself, at most the decay, and the rest from the new values."""
  plain = step_plan(NETWORKS['wide'], MAPPING)
  plan = step_plan(NETWORKS['wide'], MAPPING, ema_decay=0.15)
  batches = [batch(8, seed=seed) for seed in range(3)]
  states = [first_state(plain)]
  step, averaging = make_train_step(plain, AXIS), make_train_step(plan, AXIS)
  for number in range(3):
    states.append(run(step, states[0], Devices(1), batches[:number + 1])[0])
  found, _ = run(averaging, first_state(plan), Devices(1), batches)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7)  # two programs, each with its rounding
  jax.tree.map(close, found.params, states[3].params)
  for name in ('params', 'batch_stats'):
    expected = getattr(states[0], name)
    for decay, state in zip((1 / 10, 0.15, 0.15), states[1:], strict=True):
      expected = jax.tree.map(lambda old, new, decay=decay: decay * old + (1 - decay) * new, expected,
                              getattr(state, name))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found.variables[name], expected)
    jax.tree.map(close, found.collections[name], getattr(states[3], name))


DROPPED = NETWORKS['wide'].clone(conditioning='presence')


def losses_of(values, **dropout):
  """The mean loss of a step, and the logits of both views, with batch statistics of both together."""
  plan = step_plan(DROPPED, MAPPING, channel_dropout=ChannelDropout('hierarchical', **dropout))
  state = first_state(plan)
  after, (sums, _) = run(make_train_step(plan, AXIS), state, Devices(1), [values])
  images, present = MAPPING.apply(jnp.asarray(values['image']))
  kept = plan.channel_dropout(stream_key(plan.train.seed, 'channels', 0), present, jnp.arange(len(images)))
  logits, _ = DROPPED.clone(axis_name=None).apply(
      state.variables, jnp.concatenate([images, images]), train=True, present=jnp.concatenate([present, kept]),
      mutable=['batch_stats'], rngs={'dropout': dropout_key(plan)})
  return float(sums.loss / sums.count), np.asarray(logits, np.float64).reshape(2, len(images), -1), after


@pytest.mark.parametrize('number', [0, 1])
def test_half_of_the_samples_of_a_step_keep_a_named_subset(number):
  """Here the first channel alone; every step draws anew."""
  values = batch(16)
  images, present = MAPPING.apply(jnp.asarray(values['image']))
  named = (tuple(place == 0 for place in range(present.shape[1])),)
  plan = step_plan(DROPPED, MAPPING, channel_dropout=ChannelDropout('hierarchical'), subsets=named)
  state = first_state(plan).replace(step=jnp.int32(number))
  _, (sums, _) = run(make_train_step(plan, AXIS), state, Devices(1), [values])

  def loss(subsets, step):
    key = stream_key(plan.train.seed, 'channels', step)
    kept = plan.channel_dropout(key, present, jnp.arange(len(images)), subsets)
    logits, _ = DROPPED.clone(axis_name=None).apply(state.variables, images, train=True, present=kept,
                                                    mutable=['batch_stats'])
    return cross_entropy(np.asarray(logits, np.float64), 0.9 * np.eye(5)[values['label']] + 0.1 / 5)

  np.testing.assert_allclose(sums.loss / sums.count, loss(named, number), rtol=1e-5)
  for other in (loss((), number), loss(named, 1 - number)):
    assert abs(loss(named, number) - other) > 1e-3


def dropout_key(plan):
  return jax.random.fold_in(stream_key(plan.train.seed, 'dropout', 0), 0)


def cross_entropy(logits, targets):
  return -(targets * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1).mean()


@pytest.mark.parametrize('distillation', [0.0, 0.4, 1.0])
def test_both_views_count_alike_and_the_second_may_learn_from_the_first(distillation):
  values = batch(8)
  loss, logits, after = losses_of(values, full_view=True, distillation=distillation)
  labels = 0.9 * np.eye(5)[values['label']] + 0.1 / 5
  predicted = np.exp(logits[0]) / np.exp(logits[0]).sum(-1, keepdims=True)
  second = (1 - distillation) * labels + distillation * predicted
  expected = (cross_entropy(logits[0], labels) + cross_entropy(logits[1], second)) / 2
  np.testing.assert_allclose(loss, expected, rtol=1e-4)
  assert after.sums.correct == (logits[0].argmax(-1) == values['label']).sum()  # with all channels
  assert after.sums.count == 8


class Noise(nn.Module):
  """Whose logits, and with them the loss, are what dropout left of ones."""

  num_classes: int = 5
  in_channels: int = 3

  @nn.compact
  def __call__(self, images, train, present=None, mask=None):
    self.variable('batch_stats', 'seen', jnp.zeros, ())
    scale = self.param('scale', nn.initializers.ones, ())
    return scale * nn.Dropout(0.5, deterministic=not train)(jnp.ones((len(images), self.num_classes)))


def test_dropout_draws_anew_in_each_step_and_on_each_device(four_devices):
  plan = step_plan(Noise(), MAPPING)
  step = make_train_step(plan, AXIS)
  found = set()
  for number in (0, 1):
    for device in (0, 1):  # of two, the other has nothing but padding
      values = {**batch(16), 'label': np.zeros(16, np.int32), 'mask': np.repeat(np.eye(2, dtype=np.float32)[device], 8)}
      _, (sums, _) = run(step, first_state(plan).replace(step=jnp.int32(number)), Devices(2), [values])
      found.add(round(float(sums.loss), 4))
  assert len(found) == 4


class Linear(nn.Module):
  """A network without batch normalisation, whose gradient of a batch is the sum of those of its parts."""

  num_classes: int = 5
  in_channels: int = 3

  @nn.compact
  def __call__(self, images, train, present=None, mask=None):
    self.variable('batch_stats', 'seen', jnp.zeros, ())
    return nn.Dense(self.num_classes)(images.mean(axis=(1, 2)))


class Deep(nn.Module):
  """So many normalised layers that a batch without samples becomes infinite in it."""

  num_classes: int = 5
  in_channels: int = 3

  @nn.compact
  def __call__(self, images, train, present=None, mask=None):
    for _ in range(20):
      images = BatchNorm(axis_name=AXIS)(images, train, mask)
    return nn.Dense(self.num_classes)(images.mean(axis=(1, 2)))


def test_a_part_of_nothing_but_padding_leaves_a_deep_networks_loss_and_gradients_finite():
  plan = step_plan(Deep(), MAPPING)
  plan = dataclasses.replace(plan, train=dataclasses.replace(plan.train, accumulation=4))
  after, (_, nonfinite) = run(make_train_step(plan, AXIS), first_state(plan), Devices(1), [batch(8, 2)])
  assert nonfinite.count == 0
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


@pytest.mark.parametrize('count', [5, 2])
def test_padding_of_a_batch_in_parts_spoils_nothing(count):
  """With two samples in four parts, two of them hold nothing but padding."""
  plan = step_plan(NETWORKS['wide'], MAPPING)
  plan = dataclasses.replace(plan, train=dataclasses.replace(plan.train, accumulation=4))
  before = first_state(plan)
  after, (sums, nonfinite) = run(make_train_step(plan, AXIS), before, Devices(1), [batch(8, count)])
  assert (nonfinite.count, sums.count) == (0, count)
  ratios = [new / old for new, old in zip(*(jax.tree.leaves({name: values['norm']['var'] for name, values in
                                                             state.batch_stats.items()}) for state in (after, before)),
                                          strict=True)]
  assert all((ratio > 0.9 ** min(count, 4)).all() for ratio in ratios)  # a part without samples would bring them down


def test_frozen_modules_keep_their_statistics():
  plan = dataclasses.replace(step_plan(NETWORKS['wide'], MAPPING), frozen=('stage1',))
  before = first_state(plan)
  after, _ = run(make_train_step(plan, AXIS), before, Devices(1), [batch(8)])
  jax.tree.map(np.testing.assert_array_equal, after.batch_stats['stage1'], before.batch_stats['stage1'])
  assert np.abs(after.batch_stats['stage2']['norm']['mean'] - before.batch_stats['stage2']['norm']['mean']).max() > 0


@pytest.mark.parametrize('imputation', ['zero', 'linear'])
def test_what_follows_a_frozen_module_learns_from_the_features_that_it_is_validated_with(imputation):
  model = dataclasses.replace(NETWORKS['wide'], imputation=imputation)
  frozen = ('stage', 'input')
  plan = dataclasses.replace(step_plan(model, MAPPING), frozen=frozen)
  before = first_state(plan)
  assert all(name.startswith(frozen) for name in before.batch_stats)
  if imputation == 'linear':  # it has statistics and no parameters
    OptimizerOptions(freeze='stage,input').check_frozen(before.params, before.batch_stats)
  values = batch(8)
  values['present'] = np.array([[True, True, number > 3] for number in range(8)])
  _, (sums, _) = run(make_train_step(plan, AXIS), before, Devices(1), [values])
  images, present = MAPPING.apply(jnp.asarray(values['image']), jnp.asarray(values['present']))
  logits = model.clone(axis_name=None).apply(before.variables, images, train=False, present=present)
  targets = optax.smooth_labels(jax.nn.one_hot(values['label'], 5), 0.1)
  np.testing.assert_allclose(sums.loss, optax.softmax_cross_entropy(logits, targets).sum(), rtol=1e-4)


@pytest.mark.parametrize('count', [8, 5])
def test_a_batch_in_parts_trains_as_the_whole_batch(count):
  after = []
  for parts in (1, 2, 4):
    plan = step_plan(Linear(), MAPPING)
    plan = dataclasses.replace(plan, train=dataclasses.replace(plan.train, accumulation=parts))
    after.append(run(make_train_step(plan, AXIS), first_state(plan), Devices(1), [batch(8, count), batch(8, count, 1)]))
  for state, _ in after[1:]:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state, after[0][0])


def test_the_parts_of_a_batch_are_normalised_one_after_the_other():
  """The running mean after a step of two parts is that after two steps of them, with a rate of 0."""
  states = []
  for parts, batches in ((2, [batch(8)]), (1, [{name: value[half] for name, value in batch(8).items()}
                                               for half in (slice(0, 8, 2), slice(1, 8, 2))])):
    plan = step_plan(NETWORKS['wide'], MAPPING, optax.sgd(0.0))
    plan = dataclasses.replace(plan, train=dataclasses.replace(plan.train, accumulation=parts))
    states.append(run(make_train_step(plan, AXIS), first_state(plan), Devices(1), batches)[0])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *(s.batch_stats for s in states))


def test_the_loss_weighs_classes():
  weights = (2.0, 0.5, 0.0, 1.0, 4.0)
  plan = dataclasses.replace(step_plan(NETWORKS['wide'], MAPPING), class_weights=weights)
  values = batch(8, count=7)
  state = first_state(plan)
  _, (sums, _) = run(make_train_step(plan, AXIS), state, Devices(1), [values])
  images, present = MAPPING.apply(jnp.asarray(values['image'][:7]))
  logits, _ = NETWORKS['wide'].clone(axis_name=None).apply(state.variables, images, train=True, present=present,
                                                           mutable=['batch_stats'])
  labels = values['label'][:7]
  targets = 0.9 * np.eye(5)[labels] + 0.1 / 5
  losses = -(targets * np.asarray(jax.nn.log_softmax(logits), np.float64)).sum(axis=1)
  np.testing.assert_allclose(sums.loss, (np.array(weights)[labels] * losses).sum(), rtol=1e-4)

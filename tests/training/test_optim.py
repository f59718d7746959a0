import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mils_jax.errors import UserError
from mils_jax.training.optim import OptimizerOptions


def test_the_reports_schedule_is_a_cosine_held_during_each_epoch():
  schedule = OptimizerOptions(learning_rate=0.1, warmup_epochs=0.0, stepped_per_epoch=True).schedule(10, 7)
  for step in range(70):
    expected = 0.1 * (1 + math.cos(math.pi * (step // 7) / 10)) / 2
    assert float(schedule(jnp.asarray(step))) == pytest.approx(expected, rel=1e-5)


def test_warm_up_rises_from_zero_and_the_end_is_zero():
  schedule = OptimizerOptions(learning_rate=0.4, warmup_epochs=0.5).schedule(3, 10)
  rates = [float(schedule(jnp.asarray(step))) for step in range(31)]
  assert rates[0] == 0
  assert rates[:6] == sorted(rates[:6])
  assert max(rates) == pytest.approx(0.4)
  assert rates.index(max(rates)) == 5
  assert rates[5:] == sorted(rates[5:], reverse=True)
  assert rates[30] == pytest.approx(0, abs=1e-7)


def test_a_held_schedule_warms_up_by_steps_and_never_trains_an_epoch_at_rate_zero():
  schedule = OptimizerOptions(learning_rate=0.4, warmup_epochs=0.5, stepped_per_epoch=True).schedule(4, 10)
  rates = [float(schedule(jnp.asarray(step))) for step in range(40)]
  np.testing.assert_allclose(rates[:6], [0, 0.08, 0.16, 0.24, 0.32, 0.4], rtol=1e-5)
  assert all(rate == rates[epoch * 10 + 9] for epoch in (1, 2, 3) for rate in rates[epoch * 10 : epoch * 10 + 10])


def test_warm_up_must_end_before_the_run():
  with pytest.raises(UserError, match=r'warmup_epochs=2.*train.epochs=2'):
    OptimizerOptions(warmup_epochs=2.0).schedule(2, 5)


@pytest.mark.parametrize('by_steps', [False, True])
@pytest.mark.parametrize(('epochs', 'steps', 'warmup'), [(1, 4, 0.9), (2, 1, 1.5), (1, 1, 0.5)])
def test_a_warm_up_that_rounds_up_to_the_whole_run_leaves_a_step_at_the_peak(epochs, steps, warmup, by_steps):
  options = OptimizerOptions(learning_rate=0.4, warmup_epochs=warmup, warmup_limit=1.0)
  schedule = options.schedule(epochs, steps, by_steps)
  assert float(schedule(jnp.asarray(epochs * steps - 1))) == pytest.approx(0.4)


def test_sgd_is_pytorchs():
  """v = m v + (g + d p); p = p - r v, with the decay on every parameter."""
  optimizer = OptimizerOptions('sgd', momentum=0.9, weight_decay=0.01, decay_all=True).create(lambda step: 0.1)
  params = {'kernel': jnp.array([[1.0, -2.0]]), 'bias': jnp.array([3.0])}
  state = optimizer.init(params)
  p, v = {key: np.float64(value) for key, value in params.items()}, {'kernel': 0.0, 'bias': 0.0}
  for step in range(3):
    gradients = {'kernel': jnp.array([[0.5, step]]), 'bias': jnp.array([-1.0])}
    updates, state = optimizer.update(gradients, state, params)
    params = optax.apply_updates(params, updates)
    for key in p:
      v[key] = 0.9 * v[key] + np.float64(gradients[key]) + 0.01 * p[key]
      p[key] = p[key] - 0.1 * v[key]
      np.testing.assert_allclose(params[key], p[key], rtol=1e-5)


@pytest.mark.parametrize('momentum', [0.9, 0.5])
def test_adamws_first_moment_decays_by_the_momentum(momentum):
  """m = b m + (1 - b) g; v = 0.999 v + 0.001 g^2; p = p - r m' / (sqrt(v') + 1e-8), both corrected for their start."""
  optimizer = OptimizerOptions('adamw', momentum=momentum, weight_decay=0.0).create(lambda step: 0.1)
  params = {'bias': jnp.array([3.0])}
  state, m, v, p = optimizer.init(params), 0.0, 0.0, 3.0
  for step, gradient in enumerate((2.0, -1.0, 0.5), start=1):
    updates, state = optimizer.update({'bias': jnp.array([gradient])}, state, params)
    params = optax.apply_updates(params, updates)
    m, v = momentum * m + (1 - momentum) * gradient, 0.999 * v + 0.001 * gradient**2
    p -= 0.1 * m / (1 - momentum**step) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
    assert float(params['bias'][0]) == pytest.approx(p, rel=1e-5)


@pytest.mark.parametrize('wrong', [{'name': 'adamw'}, {'name': 'muon'}, {'momentum': 0.0}], ids=str)
def test_nesterov_without_a_momentum_to_look_along_is_refused(wrong):
  with pytest.raises(UserError, match=r'optimizer\.nesterov is of sgd with momentum'):
    OptimizerOptions(nesterov=True, **wrong)


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'muon'])
def test_decay_can_leave_norms_and_biases_alone(name):
  params = {'kernel': jnp.ones((2, 2)), 'scale': jnp.ones(2)}
  zero = {'kernel': jnp.zeros((2, 2)), 'scale': jnp.zeros(2)}
  for decay_all, kept in ((False, True), (True, False)):
    optimizer = OptimizerOptions(name, weight_decay=0.5, decay_all=decay_all).create(lambda step: 0.1)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    assert np.all(updates['kernel'] < 0)
    assert np.all(updates['scale'] == 0) == kept


def test_an_unknown_optimizer_is_refused():
  with pytest.raises(UserError, match='Valid: sgd, adamw'):
    OptimizerOptions('sdg')


@pytest.mark.parametrize(('scale', 'applied'), [(1.0, 1.0), (4.0, 2.0)])
def test_a_gradient_longer_than_the_limit_is_scaled_down_to_it(scale, applied):
  """Over all arrays together; a shorter one is left as it is."""
  params = {'kernel': jnp.zeros((1, 1)), 'bias': jnp.zeros(1)}
  gradients = {'kernel': jnp.full((1, 1), 0.6 * scale), 'bias': jnp.full(1, 0.8 * scale)}  # of length `scale`
  optimizer = OptimizerOptions(momentum=0.0, weight_decay=0.0, clip_norm=2.0).create(lambda step: 1.0)
  updates, _ = optimizer.update(gradients, optimizer.init(params), params)
  np.testing.assert_allclose([updates['kernel'][0, 0], updates['bias'][0]], [-0.6 * applied, -0.8 * applied], rtol=1e-6)


PARAMS = {'stem_conv': {'kernels': jnp.ones((2, 3, 3, 4, 6))}, 'stage1_conv': {'kernel': jnp.ones((3, 3, 6, 8))},
          'stage1_norm': {'scale': jnp.ones(8)}, 'classifier': {'kernel': jnp.ones((8, 5)), 'bias': jnp.zeros(5)}}


def gradients(seed=0):
  random = np.random.default_rng(seed)
  return {module: {name: jnp.asarray(random.normal(size=value.shape) * np.arange(1, value.shape[-1] + 1), jnp.float32)
                   for name, value in values.items()} for module, values in PARAMS.items()}


def first_updates(**options):
  optimizer = OptimizerOptions(weight_decay=0.0, **options).create(lambda step: 0.01)
  return optimizer.update(gradients(), optimizer.init(PARAMS), PARAMS)[0]


def test_muon_makes_the_updates_of_kernels_orthogonal_and_leaves_the_rest_to_adam():
  """The singular values of an update are alike, kernel by kernel, where those of the gradient are not."""
  updates = first_updates(name='muon', momentum=0.95)
  for module, name, shape in (('stem_conv', 'kernels', (2, 36, 6)), ('stage1_conv', 'kernel', (1, 54, 8))):
    for update, gradient in zip(*(np.reshape(tree[module][name], shape) for tree in (updates, gradients())),
                                strict=True):
      found, given = (np.linalg.svd(matrix, compute_uv=False) for matrix in (update, gradient))
      assert found.max() / found.min() < 2 < given.max() / given.min()
      assert np.sqrt(np.mean(update**2)) == pytest.approx(0.01 * 0.2, rel=0.25)  # as long as AdamW's usually are
  for update in jax.tree.leaves([updates['stage1_norm'], updates['classifier']]):
    np.testing.assert_allclose(np.abs(update), np.abs(update).max(), rtol=1e-3)  # Adam's first step is of one size


def test_nesterov_looks_ahead():
  plain, ahead = first_updates(), first_updates(nesterov=True)
  np.testing.assert_allclose(ahead['stage1_conv']['kernel'], 1.9 * plain['stage1_conv']['kernel'], rtol=1e-5)


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'muon'])
def test_frozen_modules_stay_and_the_others_move(name):
  optimizer = OptimizerOptions(name, freeze='stem, stage1_conv', weight_decay=0.1).create(lambda step: 0.01)
  updates, _ = optimizer.update(gradients(), optimizer.init(PARAMS), PARAMS)
  moved = {module for module, values in updates.items() for value in values.values() if np.abs(value).max() > 0}
  assert moved == {'stage1_norm', 'classifier'}


@pytest.mark.parametrize(('freeze', 'message'), [
    ('stage2', "unknown module in optimizer.freeze 'stage2'. Valid: stem_conv, stage1_conv, "
               'stage1_norm, classifier'),
    ('st,class', 'optimizer.freeze=st,class: freezes every module, so nothing would be trained')])
def test_names_that_freeze_nothing_or_all_are_refused(freeze, message):
  with pytest.raises(UserError) as error:
    OptimizerOptions(freeze=freeze).check_frozen(PARAMS)
  assert str(error.value) == message


def test_of_a_run_by_steps_the_warm_up_is_a_twentieth_at_most():
  options = OptimizerOptions(learning_rate=0.4, warmup_epochs=0.5)
  rates = [[float(options.schedule(1, 100, by_steps)(step)) for step in (2, 5, 50)] for by_steps in (True, False)]
  assert rates[0][:2] == pytest.approx([0.16, 0.4])
  assert rates[1][1:] == pytest.approx([0.04, 0.4])
  assert float(options.schedule(40, 10, True)(5)) == pytest.approx(0.4)  # half an epoch, where that is less
  assert float(OptimizerOptions(learning_rate=0.4, warmup_epochs=1.0).schedule(1, 100, True)(5)) == pytest.approx(0.4)
  before = OptimizerOptions.read({'learning_rate': 0.4, 'warmup_epochs': 0.5}, older=True)
  assert float(before.schedule(1, 100, True)(5)) == pytest.approx(0.04)

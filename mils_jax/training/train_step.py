"""The training step: a pure function of (state, batch), compiled for all devices elsewhere."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from mils_jax.distributed.devices import sum_over_devices
from mils_jax.random_streams import stream_key
from mils_jax.training.plan import StepPlan
from mils_jax.training.state import EpochSums, NonFinite, TrainState, scheduled_values


def make_train_step(plan: StepPlan, axis: str) -> Callable[[TrainState, dict], tuple]:
  """Builds the step that one device runs on its share of a batch.

  Args:
    plan: what the step is made of.
    axis: name of the mapped axis over the devices.

  Returns:
    step(state, batch) -> (state, (sums, nonfinite)), identical on every device. The batch holds image (B, H, W, C)
    as stored, label (B,), mask (B,) and, where images lack channels, present (B, C). The second part repeats what of
    the state is worth watching, because the
    state's own memory is given to the next step.
  """
  model, seed = plan.model, plan.train.seed

  def train_step(state: TrainState, batch: dict) -> tuple[TrainState, tuple]:
    local = batch['label'].shape[0]
    positions = lax.axis_index(axis) * local + jnp.arange(local)  # (B,), in the batch of all devices
    targets = jax.nn.one_hot(batch['label'], model.num_classes)
    images, targets = plan.augmentation(stream_key(seed, 'augment', state.step), batch['image'], targets,
                                        batch['mask'], positions)
    images, present = plan.mapping.apply(images, batch.get('present'))
    present = plan.channel_dropout(stream_key(seed, 'channels', state.step), present, positions)
    scheduled = scheduled_values(plan.schedules, state.step)
    targets = optax.smooth_labels(targets, plan.train.label_smoothing)
    count = sum_over_devices(batch['mask'].sum(), axis)
    dropout = jax.random.fold_in(stream_key(seed, 'dropout', state.step), lax.axis_index(axis))

    def mean_loss(params: dict) -> tuple[jax.Array, tuple]:
      variables = {'params': params, 'batch_stats': state.batch_stats, 'schedules': scheduled}
      logits, updates = model.apply(variables, images, train=True, present=present, mask=batch['mask'],
                                    mutable=['batch_stats'], rngs={'dropout': dropout})
      losses = optax.softmax_cross_entropy(logits, targets) * batch['mask']
      return losses.sum() / count, (logits, updates['batch_stats'])

    (loss, (logits, batch_stats)), gradients = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    loss, gradients = sum_over_devices((loss, gradients), axis)
    updates, optimizer_state = plan.optimizer.update(gradients, state.optimizer_state, state.params)
    correct = sum_over_devices(((logits.argmax(-1) == batch['label']) * batch['mask']).sum(), axis)
    first_of_epoch = state.step % plan.steps_per_epoch == 0
    sums = jax.tree.map(lambda total, new: jnp.where(first_of_epoch, 0.0, total) + new, state.sums,
                        EpochSums(loss * count, correct, count))
    params = optax.apply_updates(state.params, updates)
    wrong = ~jnp.stack([jnp.isfinite(loss), _all_finite(gradients), _all_finite(params)])  # in the order of KINDS
    latest = NonFinite(state.nonfinite.count + 1, state.step, wrong.argmax().astype(jnp.int32))
    nonfinite = jax.tree.map(lambda new, old: jnp.where(wrong.any(), new, old), latest, state.nonfinite)
    average = state.average
    if average is not None:
      # The first steps count more, so that the average does not hold on to the weights as they were drawn.
      decay = jnp.minimum(plan.train.ema_decay, (1 + state.step) / (10 + state.step))
      average = optax.incremental_update({'params': params, 'batch_stats': batch_stats}, average, 1 - decay)
    after = TrainState(state.step + 1, params, batch_stats, scheduled, optimizer_state, sums, nonfinite, average)
    if plan.train.skips_nonfinite:
      after = _unless(wrong.any(), after, state, first_of_epoch)
    return after, (after.sums, nonfinite)

  return train_step


def _all_finite(tree: Any) -> jax.Array:
  """Whether all numbers are."""
  return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _unless(wrong: jax.Array, after: TrainState, before: TrainState, first_of_epoch: jax.Array) -> TrainState:
  """`after`, or, where something is `wrong`, `before` with the step counted: the learning rate goes on by step."""
  def choose(new: jax.Array, old: jax.Array) -> jax.Array:
    return new if jnp.issubdtype(new.dtype, jnp.integer) else jnp.where(wrong, old, new)  # integers count steps

  old_sums = jax.tree.map(lambda total: jnp.where(first_of_epoch, 0.0, total), before.sums)
  return jax.tree.map(choose, after, dataclasses.replace(before, sums=old_sums))

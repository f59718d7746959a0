"""The training step: a pure function of (state, batch), compiled for all devices elsewhere."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax

from mils_jax.distributed.devices import sum_over_devices
from mils_jax.models.network import HEADS
from mils_jax.nn import BatchNorm, LinearImputation
from mils_jax.random_streams import stream_key
from mils_jax.training.plan import StepPlan
from mils_jax.training.state import EpochSums, NonFinite, TrainState, scheduled_values


def make_train_step(plan: StepPlan, axis: str) -> Callable[[TrainState, dict], tuple]:
  """Builds the step that one device runs on its share of a batch.

  Args:
    plan: what the step is made of.
    axis: name of the mapped axis over the devices.

  Returns:
    step(state, batch) -> (state, (sums, not_finite)), identical on every device. The batch holds image (B, H, W, C)
    as stored, label (B,), mask (B,) and, where images lack channels, present (B, C). The second part repeats the parts
    of the state that are monitored, because the next step reuses the memory of the state itself.
  """
  def train_step(state: TrainState, batch: dict) -> tuple[TrainState, tuple]:
    samples, count = _samples(plan, axis, state.step, batch)
    scheduled = scheduled_values(plan.schedules, state.step)
    dropout = jax.random.fold_in(stream_key(plan.train.seed, 'dropout', state.step), lax.axis_index(axis))

    def gradients_of(batch_stats: dict, part: dict, key: jax.Array) -> tuple:
      variables = {'batch_stats': batch_stats, 'schedules': scheduled}
      return jax.value_and_grad(partial(_loss, plan), has_aux=True)(state.params, variables, part, key)

    (loss, (logits, batch_stats)), gradients = in_parts(gradients_of, plan.train.accumulation, state.batch_stats,
                                                        samples, dropout, axis)
    loss, gradients = sum_over_devices((loss, gradients), axis)
    correct = sum_over_devices(((logits.argmax(-1) == batch['label']) * batch['mask']).sum(), axis)
    after = _advanced(plan, state, gradients, batch_stats, scheduled, loss, EpochSums(loss * count, correct, count))
    return after, (after.sums, after.not_finite)

  return train_step


def _samples(plan: StepPlan, axis: str, step: jax.Array, batch: dict) -> tuple[dict, jax.Array]:
  """The inputs of the loss from a device's share of a batch, augmented and with dropped channels.

  Returns:
    Arrays (B, ...): image, present (the channels of each image), kept (the channels that channel dropout keeps), mask,
    target (B, classes) and weight (B,), which sums to 1 over all devices if classes have equal weights; and the number
    of examples on all devices.
  """
  local, seed = batch['label'].shape[0], plan.train.seed
  positions = lax.axis_index(axis) * local + jnp.arange(local)  # (B,) global indices
  targets = jax.nn.one_hot(batch['label'], plan.model.num_classes)
  images, targets = plan.augmentation(stream_key(seed, 'augment', step), batch['image'], targets, batch['mask'],
                                      positions)
  images, present = plan.mapping.apply(images, batch.get('present'))
  kept = plan.channel_dropout(stream_key(seed, 'channels', step), present, positions, plan.subsets)
  count = sum_over_devices(batch['mask'].sum(), axis)
  weights = targets @ jnp.asarray(plan.class_weights, jnp.float32) if plan.class_weights else 1.0
  return {'image': images, 'present': present, 'kept': kept, 'mask': batch['mask'],
          'target': optax.smooth_labels(targets, plan.train.label_smoothing),
          'weight': batch['mask'] / count * weights}, count


def _loss(plan: StepPlan, params: dict, variables: dict, part: dict, key: jax.Array) -> tuple[jax.Array, tuple]:
  """The loss summed over some samples, their logits (with all channels) and the new batch statistics."""
  views = 2 if plan.channel_dropout.full_view else 1
  images, mask = (jnp.concatenate([part[name]] * views) for name in ('image', 'mask'))
  present = jnp.concatenate([part['present'], part['kept']]) if views == 2 else part['kept']
  with nn.intercept_methods(partial(_by_running_statistics, plan.frozen)):
    logits, updates = plan.model.apply({'params': params, **variables}, images, train=True, present=present, mask=mask,
                                       mutable=['batch_stats', HEADS], rngs={'dropout': key})
  logits = cast(jax.Array, logits)
  heads = cast(jax.Array, updates[HEADS]['logits']) if HEADS in updates else logits[None]
  by_view = (len(heads), views, len(part['mask']), plan.model.num_classes)
  losses = jax.vmap(partial(view_losses, targets=part['target'], distillation=plan.channel_dropout.distillation))(
      heads.reshape(by_view)).mean(axis=(0, 1))
  return (losses * part['weight']).sum(), (logits[:len(part['mask'])], updates['batch_stats'])


def _by_running_statistics(frozen: tuple[str, ...], method: Callable, args: tuple, kwargs: dict,
                           context: nn.module.InterceptorContext) -> Any:
  """Calls a method as in evaluation where it belongs to statistics of a frozen module: what follows must learn from the
  features that it will be validated with."""
  module = context.module
  if isinstance(module, BatchNorm | LinearImputation) and module.path[0].startswith(frozen):
    call = inspect.signature(method).bind(*args, **kwargs)
    call.arguments['train'] = False
    args, kwargs = call.args, call.kwargs
  return method(*args, **kwargs)


def _advanced(plan: StepPlan, state: TrainState, gradients: dict, batch_stats: dict, scheduled: dict,
              loss: jax.Array, added: EpochSums) -> TrainState:
  """The state after a step with these gradients; if the step is skipped as non-finite, only its counters change."""
  first_of_epoch = state.step % plan.steps_per_epoch == 0
  sums = jax.tree.map(lambda total: jnp.where(first_of_epoch, 0.0, total), state.sums)
  state = dataclasses.replace(state, sums=sums)
  batch_stats = {name: state.batch_stats[name] if name.startswith(plan.frozen) else values
                 for name, values in batch_stats.items()}
  updates, optimizer_state = plan.optimizer.update(gradients, state.optimizer_state, state.params)
  params = optax.apply_updates(state.params, updates)
  wrong = ~jnp.stack([jnp.isfinite(loss), all_finite(gradients), all_finite(params)])  # in the order of KINDS
  latest = NonFinite(state.not_finite.count + 1, state.step, wrong.argmax().astype(jnp.int32))
  not_finite = jax.tree.map(lambda new, old: jnp.where(wrong.any(), new, old), latest, state.not_finite)
  average = state.average
  if average is not None:
    # The first steps count more, so that the average does not keep the initial weights for long.
    decay = jnp.minimum(plan.train.ema_decay, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update({'params': params, 'batch_stats': batch_stats}, average, 1 - decay)
  after = TrainState(state.step + 1, params, batch_stats, scheduled, optimizer_state,
                     jax.tree.map(jnp.add, state.sums, added), not_finite, average)
  if plan.train.on_nonfinite == 'stop':
    return after
  # Integers count steps: the learning rate's schedule advances by them.
  return jax.tree.map(lambda new, old: new if jnp.issubdtype(new.dtype, jnp.integer)
                      else jnp.where(wrong.any(), old, new), after, state)


def in_parts(gradients_of: Callable[..., tuple], parts: int, batch_stats: dict, samples: dict, key: jax.Array,
             axis: str) -> tuple:
  """((loss, (logits, batch statistics)), gradients) of a batch in equal parts, one after the other in less memory.

  Losses and gradients are summed. Each part is normalised by its own statistics, so only networks without batch
  normalisation train exactly as with the whole batch. A part takes every `parts`-th sample, so that the padding of a
  last short batch is spread over all parts. A part of nothing but padding changes neither the sums nor the statistics:
  in a deep network its loss and gradients are NaN, since every layer divides by a standard deviation of 0.

  Args:
    gradients_of: (batch statistics, samples, key) -> what is returned here, for some samples.
    parts: number of parts.
    batch_stats: batch statistics before the step.
    samples: arrays (B, ...) with B a multiple of `parts`.
    key: random key for the network.
    axis: name of the mapped axis over the devices.
  """
  if parts == 1:
    return gradients_of(batch_stats, samples, key)
  split = jax.tree.map(lambda values: values.reshape(-1, parts, *values.shape[1:]).swapaxes(0, 1), samples)

  def add(before: tuple, part: tuple) -> tuple:
    number, own = part
    batch_stats, totals = before
    (loss, (logits, new)), gradients = gradients_of(batch_stats, own, jax.random.fold_in(key, number))
    empty = sum_over_devices(own['mask'].sum(), axis) == 0
    sums = jax.tree.map(jnp.add, totals, (loss, gradients))
    return jax.tree.map(lambda old, new: jnp.where(empty, old, new), (batch_stats, totals), (new, sums)), logits

  first = jax.tree.map(lambda values: values[0], split)
  like = jax.eval_shape(gradients_of, batch_stats, first, key)
  zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (like[0][0], like[1]))
  (batch_stats, (loss, gradients)), logits = lax.scan(add, (batch_stats, zero), (jnp.arange(parts), split))
  return (loss, (logits.swapaxes(0, 1).reshape(-1, logits.shape[-1]), batch_stats)), gradients


def view_losses(logits: jax.Array, targets: jax.Array, distillation: float) -> jax.Array:
  """Cross-entropy of each view of each sample; the second view may learn from the first, which sees all channels.

  This is in-place distillation ("Universally Slimmable Networks and Improved Training Techniques", Yu & Huang, ICCV
  2019, https://arxiv.org/abs/1903.05134).

  Args:
    logits: (views, N, classes).
    targets: (N, classes), each row summing to 1.
    distillation: share of the second view's target that is the prediction of the first view.

  Returns:
    (views, N).
  """
  targets = jnp.broadcast_to(targets[None], logits.shape)
  if distillation:
    predicted = lax.stop_gradient(nn.softmax(logits[0]))
    targets = targets.at[1].set((1 - distillation) * targets[1] + distillation * predicted)
  return optax.softmax_cross_entropy(logits, targets)


def all_finite(tree: Any) -> jax.Array:
  """Whether all numbers of a tree are finite."""
  return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()

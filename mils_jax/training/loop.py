"""The training loop: from the last checkpoint, or the beginning, to the tested best epoch."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import jax
import numpy as np
import optax
from flax import linen as nn

from mils_jax.channels import Placement
from mils_jax.data.augment import Augmentation
from mils_jax.data.batches import TrainingOrder, gather
from mils_jax.data.packing import PackedSet
from mils_jax.devices import AXIS, Devices
from mils_jax.errors import RunError
from mils_jax.evaluation.predictions import Evaluator, Predictions
from mils_jax.progress import bar, say
from mils_jax.training.checkpoints import Checkpoints, Contract
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.state import TrainState, create_state
from mils_jax.training.steps import make_train_step
from mils_jax.training.writers import Writers

STEPS_UNDER_WAY = 2  # dispatched and not yet read back: enough to keep the devices busy, few enough to stop at once


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
  """Everything that a run is made of; built from a configuration elsewhere.

  Attributes:
    folder: where it lies.
    data: the packed set.
    devices: those that share each batch.
    model: its axis_name is the devices'.
    optimizer: of the parameters.
    schedule: the learning rate by step, for the record.
    placement: of the data's channels in the model's slots.
    augmentation: of training pictures.
    contract: saved with every checkpoint.
    gather_mode: 'auto', 'resident' or 'streamed'.
    epochs, batch_size, seed, label_smoothing: of the configuration.
  """

  folder: RunFolder
  data: PackedSet
  devices: Devices
  model: nn.Module
  optimizer: optax.GradientTransformation
  schedule: optax.Schedule
  placement: Placement
  augmentation: Augmentation
  contract: Contract
  gather_mode: str
  epochs: int
  batch_size: int
  seed: int
  label_smoothing: float


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a finished run came to.

  Attributes:
    best_epoch: the one with the best validation accuracy, counted from 1.
    validation: predictions of the best epoch on the validation split.
    test: likewise on the test split.
  """

  best_epoch: int
  validation: Predictions
  test: Predictions


def train(plan: TrainingPlan) -> Outcome:
  """Trains to the end, going on from the run folder's last checkpoint where there is one.

  Raises:
    RunError: the loss or a gradient became infinite or no number; the last good checkpoint is kept.
  """
  training = plan.data.splits['train']
  order = TrainingOrder(plan.seed, len(training.labels), plan.batch_size)
  image_shape = (*plan.data.image_shape[:2], len(plan.placement.source))
  state = plan.devices.replicate(create_state(plan.model, plan.optimizer, image_shape, plan.seed))
  with Checkpoints(plan.folder.checkpoints) as checkpoints:
    if checkpoints.latest_step is not None:
      state = checkpoints.restore(checkpoints.latest_step, like=state)
      say(f'going on from step {checkpoints.latest_step}, epoch {checkpoints.latest_step // order.steps_per_epoch}')
    state = _train_epochs(plan, order, state, checkpoints)
    checkpoints.wait()
    best_step = checkpoints.best_step
    variables = checkpoints.restore_variables(best_step, like=state.variables)
  del state
  evaluator = Evaluator(plan.model, plan.placement, plan.devices, plan.batch_size)
  predictions = [
      evaluator(variables, plan.data.splits[name], gather(plan.data.splits[name], plan.devices, plan.gather_mode), name)
      for name in ('val', 'test')
  ]
  return Outcome(best_step // order.steps_per_epoch, *predictions)


def _train_epochs(plan: TrainingPlan, order: TrainingOrder, state: TrainState, checkpoints: Checkpoints) -> TrainState:
  validation = plan.data.splits['val']
  first_epoch = int(state.step) // order.steps_per_epoch
  if first_epoch == plan.epochs:
    return state
  step = plan.devices.parallel(
      make_train_step(plan.model, plan.optimizer, plan.placement, plan.augmentation, axis=AXIS,
                      label_smoothing=plan.label_smoothing, seed=plan.seed, steps_per_epoch=order.steps_per_epoch),
      replicated=1, shared=1, donate=(0,))
  batches = gather(plan.data.splits['train'], plan.devices, plan.gather_mode)
  validation_batches = gather(validation, plan.devices, plan.gather_mode)
  evaluator = Evaluator(plan.model, plan.placement, plan.devices, plan.batch_size)
  with Writers(plan.folder, int(state.step)) as writers:
    say('compiling the first step (later starts are faster)')
    for epoch in range(first_epoch, plan.epochs):
      started = time.perf_counter()
      state = _train_epoch(plan, order, epoch, state, step, batches)
      trained = time.perf_counter()
      result = evaluator(state.variables, validation, validation_batches, f'validating epoch {epoch + 1}')
      step_number = int(state.step)
      metrics = _epoch_metrics(epoch, step_number, float(plan.schedule(step_number - 1)), state, result)
      timings = {'epoch': epoch + 1, 'step': step_number, 'train_seconds': trained - started,
                 'validation_seconds': time.perf_counter() - trained,
                 'pictures_per_second': metrics['train_count'] / (trained - started),
                 'finished': datetime.now(UTC).isoformat(timespec='seconds')}
      writers.write(metrics, timings)
      checkpoints.save(step_number, state, plan.contract, metrics['val_accuracy'])
      say(f'epoch {epoch + 1}/{plan.epochs}: training loss {metrics["train_loss"]:.3f}, accuracy '
          f'{metrics["train_accuracy"]:.1%}; validation {result.accuracy.rate:.1%} '
          f'({result.accuracy.correct} of {result.accuracy.count}); '
          f'{trained - started:.0f} s, {timings["pictures_per_second"]:.0f} pictures/s')
  return state


def _train_epoch(plan: TrainingPlan, order: TrainingOrder, epoch: int, state: TrainState, step: Callable,
                 batches: object) -> TrainState:
  first, last = epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch
  under_way: deque = deque()
  with bar(f'epoch {epoch + 1}/{plan.epochs}', len(plan.data.splits['train'].labels)) as advance:
    seen = 0

    def read_oldest() -> None:
      nonlocal seen
      sums, nonfinite_step = jax.device_get(under_way.popleft())
      if nonfinite_step >= 0:
        raise RunError(f'the loss or its gradient was not finite at step {nonfinite_step}. The last good checkpoint is '
                       f'kept in {plan.folder.checkpoints}; a lower optimizer.learning_rate often helps')
      advance(int(sums.count) - seen, f'loss {sums.loss / sums.count:.3f}, accuracy {sums.correct / sums.count:.1%}')
      seen = int(sums.count)

    for batch in batches.batches(order, first, last):
      state, signals = step(state, batch)
      under_way.append(signals)
      if len(under_way) > STEPS_UNDER_WAY:
        read_oldest()
    while under_way:
      read_oldest()
  return state


def _epoch_metrics(epoch: int, step: int, learning_rate: float, state: TrainState, validation: Predictions) -> dict:
  """What state and data determine of an epoch, with counts so that it can be pooled and compared."""
  sums = jax.tree.map(np.asarray, state.sums)
  accuracy = validation.accuracy
  return {
      'epoch': epoch + 1, 'step': step, 'learning_rate': learning_rate,
      'train_loss': float(sums.loss / sums.count), 'train_accuracy': float(sums.correct / sums.count),
      'train_correct': int(sums.correct), 'train_count': int(sums.count),
      'val_loss': validation.loss, 'val_accuracy': accuracy.rate, 'val_correct': accuracy.correct,
      'val_count': accuracy.count,
  }

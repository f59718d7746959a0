"""The training loop: from the last checkpoint or the beginning to the test of the best epoch."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.data.loader import OnDevice, OnHost, place_split
from mils_jax.data.order import BalancedOrder, TrainingOrder
from mils_jax.distributed.devices import AXIS, compile_ahead
from mils_jax.errors import RunError, Stopped, UserError
from mils_jax.metrics.predictions import Evaluator, Predictions
from mils_jax.progress import bar, counted, log
from mils_jax.random_streams import stream_key
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.logging import Writers
from mils_jax.training.plan import TrainingPlan
from mils_jax.training.selection import SUBSETS, score_of
from mils_jax.training.shared_checkpoints import SharedCheckpoints
from mils_jax.training.signals import StopSignals
from mils_jax.training.state import NonFinite, TrainState, state_creator
from mils_jax.training.train_step import make_train_step
from mils_jax.training.warm_start import warm_start

STEPS_UNDER_WAY = 2  # dispatched and not yet read back: enough to keep the devices busy, few enough to stop quickly


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The outcome of a finished run.

  Attributes:
    epochs: number of trained epochs.
    best_epoch: the best epoch by validation, counted from 1.
    validation: predictions of the best epoch on the validation split.
    test: predictions of the best epoch on the test split.
  """

  epochs: int
  best_epoch: int
  validation: Predictions
  test: Predictions


def train(plan: TrainingPlan, stop: StopSignals) -> Outcome:
  """Trains to the end, resuming from the run folder's last checkpoint if there is one.

  Raises:
    RunError: the loss or a gradient became NaN or Inf, saving failed, or every checkpoint is damaged.
    UserError: the data changed since the last checkpoint.
    Stopped: a signal arrived; during training the current step was finished and saved.
  """
  order = training_order(plan)
  create = first_state_creator(plan)
  like = jax.eval_shape(create)
  with SharedCheckpoints(plan.folder.checkpoints) as checkpoints:
    trainer = Trainer(plan, order, checkpoints, stop)

    def choose(own: Checkpoints) -> TrainState:
      """The initial state: the run's last checkpoint, another run's best weights, or freshly drawn ones."""
      restored = _restore(plan, order, own, like)
      if restored is not None:
        return restored
      if plan.train.init_from:
        return warm_start(create(), plan.step.model, plan.spec, plan.train.init_from)
      trainer.compile_ahead(like)
      return create()

    state = trainer.train(plan.devices.replicate(checkpoints.first_state(choose, like)))
    epochs = int(state.step) // order.steps_per_epoch
    best_step, best = checkpoints.restore_best(like=state.variables)
    variables = plan.devices.replicate(best)
  del state
  predictions = [trainer.evaluator(variables, plan.data.splits[name], batches, name)
                 for name, batches in (('val', trainer.validation_batches), ('test', batches_of(plan, 'test')))]
  return Outcome(epochs, best_step // order.steps_per_epoch, *predictions)


def dropped_channels(plan: TrainingPlan) -> np.ndarray:
  """(N, in_channels) bool: the channels that dropout keeps of each validation image, the same in every epoch."""
  split = plan.data.splits['val']
  present = plan.step.mapping.present_of(len(split.labels), split.present)
  dropout = dataclasses.replace(plan.step.channel_dropout, per='sample')  # one draw for all would test one subset only
  key = stream_key(plan.train.seed, 'validation channels')
  return np.asarray(dropout(key, present, jnp.arange(len(split.labels)), plan.step.subsets))


def batches_of(plan: TrainingPlan, split: str) -> OnDevice | OnHost:
  return place_split(plan.data.splits[split], plan.devices, plan.runtime.data_placement)


def first_state_creator(plan: TrainingPlan) -> Callable[[], TrainState]:
  """The compiled function that creates the state before the first step."""
  return state_creator(plan.step, (*plan.data.image_shape[:2], len(plan.step.mapping.source)))


def parallel_step(plan: TrainingPlan) -> Callable[[TrainState, dict], tuple]:
  """The training step on all devices; it donates the state that it is given."""
  return plan.devices.parallel(make_train_step(plan.step, AXIS), replicated=1, shared=1, donate=(0,))


def training_order(plan: TrainingPlan) -> TrainingOrder:
  """The order in which examples are drawn for the steps."""
  if plan.train.sampling == 'balanced':
    return BalancedOrder(plan.train.seed, np.asarray(plan.data.splits['train'].labels), plan.train.batch_size)
  return TrainingOrder(plan.train.seed, len(plan.data.splits['train']), plan.train.batch_size)


def _restore(plan: TrainingPlan, order: TrainingOrder, checkpoints: Checkpoints, like: TrainState
             ) -> TrainState | None:
  """The state of the last checkpoint, None where there is none."""
  restored, skipped = checkpoints.restore_latest(like)
  for line in skipped:
    log(line)
  if restored is None:
    return None
  if not checkpoints.spec_of_latest(int(restored.step)).was_made_for(plan.spec):
    raise UserError(f'{plan.folder.path} was trained on other data than there is now (its images, classes or '
                    'channels changed). Restore the data, or give another --workdir to train anew')
  epoch, position = divmod(int(restored.step), order.steps_per_epoch)
  log(f'resuming from step {int(restored.step)} ({counted(epoch, "epoch")} and {counted(position, "step")} done)')
  return restored


class Trainer:
  """Runs the epochs of one plan, from any step on.

  The state at an epoch's end is saved before its validation. A run that resumes from there validates again, so the
  result of an epoch never depends on which of its files had been written.
  """

  def __init__(self, plan: TrainingPlan, order: TrainingOrder, checkpoints: SharedCheckpoints,
               stop: StopSignals):
    self._plan, self._order, self._checkpoints, self._stop = plan, order, checkpoints, stop
    self._step = parallel_step(plan)
    self._batches = batches_of(plan, 'train')
    self.validation_batches = batches_of(plan, 'val')
    self.evaluator = Evaluator(plan.step.model, plan.step.mapping, plan.devices, plan.train.batch_size)
    self._dropped = dropped_channels(plan) if plan.train.best_by == SUBSETS else None
    self._saved = time.perf_counter()

  def compile_ahead(self, like: TrainState) -> None:
    """Starts compiling the step for a state of these shapes in the background."""
    (any_batch,) = self._batches.batches(self._order, 0, 1)
    compile_ahead(self._step, like, any_batch)

  def train(self, state: TrainState) -> TrainState:
    """Runs all epochs that are not finished and validated."""
    step, length = int(state.step), self._order.steps_per_epoch
    first_epoch = max(step - 1, 0) // length  # an epoch at its end is repeated for its validation
    writers = Writers(self._plan.folder, step)
    if step < self._plan.train.epochs * length:
      log('compiling the first step (later starts are faster)')
    for epoch in range(first_epoch, self._plan.train.epochs):
      last_step = (epoch + 1) * length
      started = time.perf_counter()
      state, images = self._train_epoch(state, epoch, max(step, epoch * length), last_step)
      trained = time.perf_counter()
      validation = (state.variables, self._plan.data.splits['val'], self.validation_batches,
                    f'validating epoch {epoch + 1}')
      result = self.evaluator(*validation)
      dropped = None if self._dropped is None else self.evaluator(*validation, self._dropped)
      rate = float(np.asarray(self._plan.learning_rate(last_step - 1)))
      metrics = _epoch_metrics(epoch, last_step, rate, state, result, dropped)
      timings = {'epoch': epoch + 1, 'step': last_step, 'train_seconds': trained - started,
                 'validation_seconds': time.perf_counter() - trained,
                 'whole': step <= epoch * length,  # else only what followed a resumption was timed
                 **({'images_per_second': images / (trained - started)} if images else {}),
                 'finished': datetime.now(UTC).isoformat(timespec='seconds')}
      writers.write(metrics, timings)
      with self._stop.deferred():
        best_step = self._checkpoints.save_best(last_step, state.variables, self._plan.spec,
                                                score_of(self._plan.train.best_by, result, dropped))
      log(f'epoch {epoch + 1}/{self._plan.train.epochs}: training loss {metrics["train_loss"]:.3f}, accuracy '
          f'{metrics["train_accuracy"]:.1%}; validation {result.accuracy.rate:.1%} '
          f'({result.accuracy.correct} of {result.accuracy.count}); '
          + (f'{dropped.accuracy.rate:.1%} with dropped channels; ' if dropped else '') +
          f'{trained - started:.0f} s, {images / (trained - started):.0f} images/s')
      patience = self._plan.train.patience
      if patience and last_step - best_step >= patience * length and epoch + 1 < self._plan.train.epochs:
        log(f'stopping: no epoch since {best_step // length} was better (train.patience={patience})')
        break
    return state

  def _train_epoch(self, state: TrainState, epoch: int, first: int, last: int) -> tuple[TrainState, int]:
    """Runs the steps first..last - 1 of an epoch and saves the state at its end; also returns the number of images."""
    under_way: deque = deque()
    before = seen = int(state.sums.count) if first % self._order.steps_per_epoch else 0
    title = f'epoch {epoch + 1}/{self._plan.train.epochs}'
    # An implicit transfer to a device in here would make every step wait.
    with bar(title, self._order.num_examples) as advance, self._stop.deferred(), jax.transfer_guard('disallow'):
      advance(seen)

      def read_oldest() -> None:
        nonlocal seen
        sums, nonfinite = jax.device_get(under_way.popleft())
        self._check(nonfinite)
        count = max(sums.count, 1)  # 0 where all steps so far were skipped
        advance(int(sums.count) - seen, f'loss {sums.loss / count:.3f}, accuracy {sums.correct / count:.1%}')
        seen = int(sums.count)

      for step, batch in enumerate(self._batches.batches(self._order, first, last), first + 1):
        state, signals = self._step(state, batch)
        under_way.append(signals)
        stop = self._stop.after_step(step)
        save = stop or self._plan.checkpoint.due(step, time.perf_counter() - self._saved)
        while under_way and (save or len(under_way) > STEPS_UNDER_WAY):
          read_oldest()
        if save:
          self.save(step, state)
        if stop:
          raise Stopped(stop, step)
      while under_way:
        read_oldest()
      self.save(last, state)
    return state, seen - before

  def _check(self, nonfinite: NonFinite) -> None:
    limit = self._plan.train.nonfinite_limit if self._plan.train.on_nonfinite == 'skip' else 0
    if nonfinite.count > limit:
      skipped = f', after {limit} steps were skipped for the like' if limit else ''
      kept = f'The last good checkpoint is kept in {self._plan.folder.checkpoints}'
      if self._checkpoints.latest_step is None:
        kept = 'No checkpoint had been saved yet'
      raise RunError(f'the {NonFinite.KINDS[nonfinite.kind]} was non-finite in step {nonfinite.step + 1}{skipped}. '
                     f'{kept}; a lower optimizer.learning_rate often helps')

  def save(self, step: int, state: TrainState) -> None:
    """Saves the state after `step` steps; a signal takes effect afterwards."""
    with self._stop.deferred():
      self._checkpoints.save(step, state, self._plan.spec)
    self._saved = time.perf_counter()


def _epoch_metrics(epoch: int, step: int, learning_rate: float, state: TrainState, validation: Predictions,
                   dropped: Predictions | None) -> dict:
  """The metrics of an epoch that state and data determine, with counts so that they can be pooled and compared."""
  of_dropped = {'val_dropped_accuracy': dropped.accuracy.rate, 'val_dropped_correct': dropped.accuracy.correct,
                'val_dropped_loss': dropped.loss} if dropped else {}
  sums = jax.tree.map(np.asarray, state.sums)
  count = max(sums.count, 1)
  accuracy = validation.accuracy
  return {
      'epoch': epoch + 1, 'step': step, 'learning_rate': learning_rate,
      'train_loss': float(sums.loss / count), 'train_accuracy': float(sums.correct / count),
      'train_correct': int(sums.correct), 'train_count': int(sums.count),
      'val_loss': validation.loss, 'val_accuracy': accuracy.rate, 'val_correct': accuracy.correct,
      'val_count': accuracy.count, 'val_balanced_accuracy': validation.balanced_accuracy,
      **of_dropped, 'skipped_steps': int(state.not_finite.count),
  }

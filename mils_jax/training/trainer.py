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

from mils_jax.channels import ChannelDropout, ChannelMapping
from mils_jax.data.augment import Augmentation
from mils_jax.data.cache.building import CachedDataset
from mils_jax.data.loader import TrainingOrder, gather
from mils_jax.distributed.devices import AXIS, Devices, compile_ahead
from mils_jax.errors import RunError, Stopped, UserError
from mils_jax.metrics.predictions import Evaluator, Predictions
from mils_jax.progress import bar, log
from mils_jax.training.cadence import Cadence
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.logging import Writers
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.shared_checkpoints import SharedCheckpoints
from mils_jax.training.signals import StopSignals
from mils_jax.training.state import NonFinite, TrainState, state_creator
from mils_jax.training.train_step import make_train_step
from mils_jax.training.warm_start import warm_start

STEPS_UNDER_WAY = 2  # dispatched and not yet read back: enough to keep the devices busy, few enough to stop at once


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
  """Everything that a run is made of; built from a configuration elsewhere.

  Attributes:
    folder: where it lies.
    data: the dataset cache.
    devices: those that share each batch.
    model: its axis_name is the devices'.
    optimizer: of the parameters.
    schedule: the learning rate by step, for the record.
    mapping: of the data's channels in the model's in_channels.
    augmentation: of training images.
    sampling: which of their channels training images keep.
    model_schedules: of values that the model reads, by name.
    spec: saved with every checkpoint.
    data_placement: 'auto', 'device' or 'host'.
    cadence: of checkpoints within an epoch.
    nonfinite_limit: how many steps that are non-finite are skipped before the run stops; 0: it stops at the first.
    init_from: run folder whose best weights this run starts from; '': it starts from drawn ones.
    epochs, batch_size, seed, label_smoothing: of the configuration.
  """

  folder: RunFolder
  data: CachedDataset
  devices: Devices
  model: nn.Module
  optimizer: optax.GradientTransformation
  schedule: optax.Schedule
  mapping: ChannelMapping
  augmentation: Augmentation
  sampling: ChannelDropout
  model_schedules: dict[str, optax.Schedule]
  spec: ModelSpec
  data_placement: str
  epochs: int
  batch_size: int
  seed: int
  label_smoothing: float
  cadence: Cadence
  nonfinite_limit: int
  init_from: str


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


def train(plan: TrainingPlan, stop: StopSignals) -> Outcome:
  """Trains to the end, going on from the run folder's last checkpoint where there is one.

  Raises:
    RunError: the loss or a gradient became infinite or no number, saving failed, or no checkpoint is whole.
    UserError: the data changed since the last checkpoint.
    Stopped: a signal came; during training the current step was finished and saved.
  """
  order = TrainingOrder(plan.seed, len(plan.data.splits['train'].labels), plan.batch_size)
  create = first_state_creator(plan)
  like = jax.eval_shape(create)
  with SharedCheckpoints(plan.folder.checkpoints) as checkpoints:
    trainer = Trainer(plan, order, checkpoints, stop)

    def choose(own: Checkpoints) -> TrainState:
      """What the run goes on from: its last checkpoint, another run's best weights, or freshly drawn ones."""
      restored = _restore(plan, order, own, like)
      if restored is not None:
        return restored
      if plan.init_from:
        return warm_start(create(), plan.model, plan.spec, plan.init_from)
      trainer.compile_ahead(like)
      return create()

    state = trainer.train(plan.devices.replicate(checkpoints.first_state(choose, like)))
    best_step, best = checkpoints.restore_best(like=state.variables)
    variables = plan.devices.replicate(best)
  del state
  evaluator = Evaluator(plan.model, plan.mapping, plan.devices, plan.batch_size)
  predictions = [
      evaluator(variables, plan.data.splits[name], gather(plan.data.splits[name], plan.devices, plan.data_placement), name)
      for name in ('val', 'test')
  ]
  return Outcome(best_step // order.steps_per_epoch, *predictions)


def first_state_creator(plan: TrainingPlan) -> Callable[[], TrainState]:
  """The compiled function that makes the state before the first step."""
  image_shape = (*plan.data.image_shape[:2], len(plan.mapping.source))
  return state_creator(plan.model, plan.optimizer, image_shape, plan.seed, plan.model_schedules)


def parallel_step(plan: TrainingPlan, steps_per_epoch: int) -> Callable[[TrainState, dict], tuple]:
  """The training step on all devices; a state given to it is used up."""
  step = make_train_step(plan.model, plan.optimizer, plan.mapping, plan.augmentation, axis=AXIS,
                         label_smoothing=plan.label_smoothing, seed=plan.seed, steps_per_epoch=steps_per_epoch,
                         sampling=plan.sampling, schedules=plan.model_schedules,
                         skip_nonfinite=plan.nonfinite_limit > 0)
  return plan.devices.parallel(step, replicated=1, shared=1, donate=(0,))


def _restore(plan: TrainingPlan, order: TrainingOrder, checkpoints: Checkpoints, like: TrainState) -> TrainState | None:
  """The state of the last checkpoint, None where there is no checkpoint."""
  restored, skipped = checkpoints.restore_latest(like)
  for line in skipped:
    log(line)
  if restored is None:
    return None
  if checkpoints.spec_of_latest(int(restored.step)) != plan.spec:
    raise UserError(f'{plan.folder.path} was trained on other data than there is now (its images, classes or '
                    'channels changed). Restore the data, or give another --workdir to train anew')
  epoch, position = divmod(int(restored.step), order.steps_per_epoch)
  log(f'resuming from step {int(restored.step)}: {epoch} epochs and {position} steps')
  return restored


class Trainer:
  """Runs the epochs of one plan, from any step on.

  The state at an epoch's end is saved before its validation. A run that goes on from there validates again, so what
  comes of an epoch never depends on which of its files had been written.
  """

  def __init__(self, plan: TrainingPlan, order: TrainingOrder, checkpoints: SharedCheckpoints,
               stop: StopSignals):
    self._plan, self._order, self._checkpoints, self._stop = plan, order, checkpoints, stop
    self._step = parallel_step(plan, order.steps_per_epoch)
    self._batches = gather(plan.data.splits['train'], plan.devices, plan.data_placement)
    self._validation_batches = gather(plan.data.splits['val'], plan.devices, plan.data_placement)
    self._evaluator = Evaluator(plan.model, plan.mapping, plan.devices, plan.batch_size)
    self._saved = time.perf_counter()

  def compile_ahead(self, like: TrainState) -> None:
    """Begins to compile the step for a state of these shapes, while this thread does something else."""
    (any_batch,) = self._batches.batches(self._order, 0, 1)
    compile_ahead(self._step, like, any_batch)

  def train(self, state: TrainState) -> TrainState:
    """All epochs that are not finished and validated."""
    step, length = int(state.step), self._order.steps_per_epoch
    first_epoch = max(step - 1, 0) // length  # at an epoch's end, that epoch: its validation may not have been
    writers = Writers(self._plan.folder, step)
    if step < self._plan.epochs * length:
      log('compiling the first step (later starts are faster)')
    for epoch in range(first_epoch, self._plan.epochs):
      last_step = (epoch + 1) * length
      started = time.perf_counter()
      state, images = self._train_epoch(state, epoch, max(step, epoch * length), last_step)
      trained = time.perf_counter()
      result = self._evaluator(state.variables, self._plan.data.splits['val'], self._validation_batches,
                               f'validating epoch {epoch + 1}')
      metrics = _epoch_metrics(epoch, last_step, float(self._plan.schedule(last_step - 1)), state, result)
      timings = {'epoch': epoch + 1, 'step': last_step, 'train_seconds': trained - started,
                 'validation_seconds': time.perf_counter() - trained,
                 'images_per_second': images / (trained - started),
                 'finished': datetime.now(UTC).isoformat(timespec='seconds')}
      writers.write(metrics, timings)
      with self._stop.deferred():
        self._checkpoints.save_best(last_step, state.variables, self._plan.spec, metrics['val_accuracy'])
      log(f'epoch {epoch + 1}/{self._plan.epochs}: training loss {metrics["train_loss"]:.3f}, accuracy '
          f'{metrics["train_accuracy"]:.1%}; validation {result.accuracy.rate:.1%} '
          f'({result.accuracy.correct} of {result.accuracy.count}); '
          f'{trained - started:.0f} s, {timings["images_per_second"]:.0f} images/s')
    return state

  def _train_epoch(self, state: TrainState, epoch: int, first: int, last: int) -> tuple[TrainState, int]:
    """The steps first..last - 1 of an epoch, the state at its end saved; also how many images they took."""
    under_way: deque = deque()
    before = seen = int(state.sums.count) if first % self._order.steps_per_epoch else 0
    with bar(f'epoch {epoch + 1}/{self._plan.epochs}', self._order.num_examples) as advance, self._stop.deferred():
      advance(seen)

      def read_oldest() -> None:
        nonlocal seen
        sums, nonfinite = jax.device_get(under_way.popleft())
        self._check(nonfinite)
        count = max(sums.count, 1)  # no example yet where steps were skipped
        advance(int(sums.count) - seen, f'loss {sums.loss / count:.3f}, accuracy {sums.correct / count:.1%}')
        seen = int(sums.count)

      for step, batch in enumerate(self._batches.batches(self._order, first, last), first + 1):
        state, signals = self._step(state, batch)
        under_way.append(signals)
        save = self._stop.number or self._plan.cadence.due(step, time.perf_counter() - self._saved)
        while under_way and (save or len(under_way) > STEPS_UNDER_WAY):
          read_oldest()
        if save:
          self._save(step, state)
        if self._stop.number:
          raise Stopped(self._stop.number, step)
      while under_way:
        read_oldest()
      self._save(last, state)
    return state, seen - before

  def _check(self, nonfinite: NonFinite) -> None:
    limit = self._plan.nonfinite_limit
    if nonfinite.count > limit:
      skipped = f', after {limit} steps were skipped for the like' if limit else ''
      kept = f'The last good checkpoint is kept in {self._plan.folder.checkpoints}'
      if self._checkpoints.latest_step is None:
        kept = 'No checkpoint had been saved yet'
      raise RunError(f'the {NonFinite.KINDS[nonfinite.kind]} was non-finite in step {nonfinite.step + 1}{skipped}. '
                     f'{kept}; a lower optimizer.learning_rate often helps')

  def _save(self, step: int, state: TrainState) -> None:
    with self._stop.deferred():
      self._checkpoints.save(step, state, self._plan.spec)
    self._saved = time.perf_counter()


def _epoch_metrics(epoch: int, step: int, learning_rate: float, state: TrainState, validation: Predictions) -> dict:
  """What state and data determine of an epoch, with counts so that it can be pooled and compared."""
  sums = jax.tree.map(np.asarray, state.sums)
  count = max(sums.count, 1)
  accuracy = validation.accuracy
  return {
      'epoch': epoch + 1, 'step': step, 'learning_rate': learning_rate,
      'train_loss': float(sums.loss / count), 'train_accuracy': float(sums.correct / count),
      'train_correct': int(sums.correct), 'train_count': int(sums.count),
      'val_loss': validation.loss, 'val_accuracy': accuracy.rate, 'val_correct': accuracy.correct,
      'val_count': accuracy.count, 'skipped_steps': int(state.nonfinite.count),
  }

"""Estimates how long a sweep would take, from the remaining steps of each run and a few measured steps of each kind.

It trains nothing.
"""

import dataclasses
import statistics
import time

import jax

from mils_jax.progress import log
from mils_jax.sweeps.sweep import Sweep, SweepRun, build_plan, check_folders
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.plan import TrainingPlan
from mils_jax.training.trainer import batches_of, first_state_creator, parallel_step, training_order

STEPS = 5  # number of measured steps


@dataclasses.dataclass(frozen=True)
class StepTime:
  """How long one kind of step takes on this machine.

  Attributes:
    step: median seconds of a step on a full batch.
    compiling: seconds that the first step takes beyond that; fewer where the program is in the cache.
  """

  step: float
  compiling: float


@dataclasses.dataclass(frozen=True)
class Estimate:
  """The remaining work of one run.

  Attributes:
    run: the run.
    done: number of steps that are saved.
    steps: number of steps in all; 0 where the run is finished and was not opened.
    finished: whether it was tested.
    time: time of its steps, None where none is left.
  """

  run: SweepRun
  done: int
  steps: int
  finished: bool
  time: StepTime | None

  @property
  def state(self) -> str:
    """State of the run: 'finished', 'new' or the saved step."""
    if self.finished:
      return 'finished'
    return f'at step {self.done}' if self.done else 'new'

  @property
  def seconds(self) -> float:
    """Estimated seconds for the remaining steps, without validation, testing and saving."""
    return (self.steps - self.done) * self.time.step if self.time else 0.0


def estimate_sweep(sweep: Sweep) -> list[Estimate]:
  """Estimates the remaining time of each run, from a few measured steps of each distinct model, shape and batch.

  Raises:
    UserError: a run does not fit, or its folder belongs to another configuration.
  """
  check_folders(sweep)
  times: dict[str, StepTime] = {}
  return [_estimate(run, times) for run in sweep.runs]


def _estimate(run: SweepRun, times: dict[str, StepTime]) -> Estimate:
  if run.folder.read_results() is not None:
    return Estimate(run, 0, 0, True, None)
  plan = build_plan(run)
  steps = plan.steps
  with Checkpoints(run.folder.checkpoints, read_only=True) as checkpoints:
    done = checkpoints.latest_step or 0
  if done == steps:  # only the test remains
    return Estimate(run, done, steps, False, None)
  optimizer = run.config.optimizer  # rate and decay are numbers in the same program; without decay it is another
  optimizer = dataclasses.replace(optimizer, learning_rate=1.0, weight_decay=float(optimizer.weight_decay > 0))
  kind = repr((plan.step.model, plan.data.image_shape, plan.data.splits['train'].images.dtype, plan.train.batch_size,
               plan.step.augmentation, plan.step.channel_dropout, optimizer, plan.train.accumulation,
               plan.train.ema_decay))
  if kind not in times:
    log(f'measuring a step of {run.title}')
    times[kind] = measure_step(plan)
  return Estimate(run, done, steps, False, times[kind])


def measure_step(plan: TrainingPlan) -> StepTime:
  """Times a run's own step on its own first batches, from its initial state."""
  step, seconds = parallel_step(plan), []
  state = plan.devices.replicate(first_state_creator(plan)())
  for batch in batches_of(plan, 'train').batches(training_order(plan), 0, 1 + STEPS):
    jax.block_until_ready(batch)
    started = time.perf_counter()
    state, signals = step(state, batch)
    jax.block_until_ready((state, signals))
    seconds.append(time.perf_counter() - started)
  usual = statistics.median(seconds[1:])
  return StepTime(usual, max(seconds[0] - usual, 0.0))

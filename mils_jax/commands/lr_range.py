"""A learning-rate range test: one short training at a rate that grows with every step, and the rate that it suggests.

"Cyclical Learning Rates for Training Neural Networks" (Smith, WACV 2017, https://arxiv.org/abs/1506.01186), sec. 3.3.
"""

import contextlib
import dataclasses
import math

import jax
import numpy as np
import optax

from mils_jax import build
from mils_jax.commands import Request
from mils_jax.errors import RunError
from mils_jax.progress import bar, log_lines
from mils_jax.report.figure_style import drawing, to_svg
from mils_jax.report.text import table_lines
from mils_jax.training.plan import TrainingPlan
from mils_jax.training.run_folder import write_json
from mils_jax.training.trainer import batches_of, first_state_creator, parallel_step, training_order
from mils_jax.training.warm_start import warm_start

LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.9  # share of the previous mean in the smoothed loss
DIVERGED = 4.0  # multiple of the lowest loss of a batch at which the test stops
SHOWN_LOSS = 2.0  # highest loss in the figure, as a multiple of the first
SHOWN = 12  # rows of the table


@dataclasses.dataclass(frozen=True)
class RangeTest:
  """The results of a range test.

  Attributes:
    rates: (N,) learning rate of each step.
    losses: (N,) loss of each batch, before its step.
    smoothed: (N,) exponential mean of the losses, with bias correction.
  """

  rates: np.ndarray
  losses: np.ndarray
  smoothed: np.ndarray

  @classmethod
  def of(cls, rates: np.ndarray, losses: np.ndarray) -> 'RangeTest':
    """Computes the results from the steps until the loss diverged."""
    mean, smoothed = 0.0, []
    for number, loss in enumerate(losses, 1):
      mean = SMOOTHING * mean + (1 - SMOOTHING) * float(loss)
      smoothed.append(mean / (1 - SMOOTHING ** number))
    return cls(rates, losses, np.array(smoothed))

  @property
  def suggested(self) -> float | None:
    """A third of the rate of the lowest smoothed loss, to two digits, as the peak of a schedule needs a margin.

    None where the loss was lowest at the start.
    """
    return None if self.smoothed.argmin() == 0 else float(f'{self.rates[self.smoothed.argmin()] / 3:.1e}')


def range_test(plan: TrainingPlan, steps: int) -> RangeTest:
  """Trains the initial weights of a run for at most `steps` steps, with the rate growing from LOWEST to HIGHEST.

  Raises:
    RunError: the loss is non-finite from the start.
  """
  order, step, state = training_order(plan), parallel_step(plan), first_state_creator(plan)()
  if plan.train.init_from:
    state = warm_start(state, plan.step.model, plan.spec, plan.train.init_from)
  state = plan.devices.replicate(state)
  losses, lowest, total, seen = [], math.inf, 0.0, 0.0
  with bar('range test', steps, 'steps') as advance:
    for number, batch in enumerate(batches_of(plan, 'train').batches(order, 0, steps)):
      state, (sums, _) = step(state, batch)
      first = number % order.steps_per_epoch == 0  # the sums of an epoch are reset
      now, count = jax.device_get((sums.loss, sums.count))
      before, before_count = (0.0, 0.0) if first else (total, seen)
      loss = float(now - before) / (float(count - before_count) or math.nan)  # 0 samples where the step was skipped
      if not math.isfinite(loss) or loss > DIVERGED * lowest:
        break
      losses.append(loss)
      total, seen, lowest = now, count, min(lowest, loss)
      advance(1, f'loss {loss:.3f}')
  if len(losses) < 2:
    raise RunError(f'the loss is non-finite from the start, at a learning rate of {LOWEST}')
  return RangeTest.of(np.geomspace(LOWEST, HIGHEST, steps)[:len(losses)], np.array(losses))


def run(request: Request) -> None:
  """Tests the configured optimizer on the configured data, prints the curve and draws it."""
  steps = request.number('steps', low=10)
  plan = build.build_plan(request.config, request.folder)
  schedule = optax.exponential_decay(LOWEST, steps - 1, HIGHEST / LOWEST)
  optimizer = request.config.optimizer.create(schedule)
  plan = dataclasses.replace(plan, step=dataclasses.replace(plan.step, optimizer=optimizer))
  run_folder = request.folder.path.resolve()
  folder = run_folder.with_name(f'{run_folder.name}-lr_range')  # the run will have another rate
  folder.mkdir(parents=True, exist_ok=True)
  try:
    found = range_test(plan, steps)
  except BaseException:
    with contextlib.suppress(OSError):
      folder.rmdir()  # unless it holds an earlier test
    raise
  figure = folder / 'lr_range.svg'
  figure.write_text(range_figure(found), encoding='utf-8')
  write_json(folder / 'lr_range.json', {
      'suggested': found.suggested, 'rates': found.rates.tolist(), 'losses': found.losses.tolist()})
  log_lines([*range_lines(found, request.config.optimizer.name), f'the curve: {figure}'])


def range_lines(found: RangeTest, optimizer: str) -> list[str]:
  """The curve in a few rows, the suggestion and how to use it."""
  rows = [[f'{found.rates[index]:.1e}', f'{found.losses[index]:.3f}', f'{found.smoothed[index]:.3f}']
          for index in np.unique(np.linspace(0, len(found.rates) - 1, SHOWN).astype(int))]
  lowest = f'lowest smoothed loss at {found.rates[found.smoothed.argmin()]:.1e}'
  return ['', *table_lines(['learning rate', 'loss', 'smoothed'], rows), '',
          f'{lowest}, the first rate: none lowered the loss; expected more --steps' if found.suggested is None else
          f'{lowest}; suggested for {optimizer}: --config.optimizer.learning_rate={found.suggested:g}',
          'One short run from one seed: good for the order of magnitude. Nothing was trained that is kept.']


def range_figure(found: RangeTest) -> str:
  """The loss by learning rate, as SVG."""
  figure, (axes,) = drawing(3.0)
  axes.plot(found.rates, found.losses, alpha=0.35, linewidth=0.8, label='of each batch')
  axes.plot(found.rates, found.smoothed, label='smoothed')
  if found.suggested is not None:
    axes.axvline(found.suggested, linestyle=(0, (2, 1.5)), linewidth=1.2, label=f'suggested: {found.suggested:g}')
  axes.set_xscale('log')
  axes.set_ylim(top=SHOWN_LOSS * found.smoothed[0])
  axes.set_xlabel('learning rate')
  axes.set_ylabel('training loss, nats')
  axes.legend(loc='upper left')
  return to_svg(figure)

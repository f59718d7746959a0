"""One run's checkpoints for all of its processes: the first one saves and restores, the others get what it restored.

So all processes resume from the same step by construction, whatever is damaged, and only the first needs the run
folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mils_jax.distributed import processes
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.record import ModelSpec
from mils_jax.training.selection import Score
from mils_jax.training.state import TrainState


class SharedCheckpoints:
  """Checkpoints that every process may call; all call the same methods in the same order.

  Args:
    folder: folder of the checkpoints, which need not exist yet; only the first process accesses it.
  """

  def __init__(self, folder: Path):
    self._own = Checkpoints(folder) if processes.is_first() else None

  @property
  def latest_step(self) -> int | None:
    """The latest step on the first process; None on the others."""
    return self._own.latest_step if self._own else None

  @property
  def _of_first(self) -> Checkpoints:
    assert self._own is not None  # only the first process calls this
    return self._own

  def save(self, step: int, state: TrainState, spec: ModelSpec) -> None:
    if self._own:
      self._own.save(step, state, spec)

  def save_best(self, step: int, variables: dict, spec: ModelSpec, score: Score) -> int:
    """Does what `Checkpoints.save_best` does; every process learns which step is the best."""
    return processes.value_of_first('best step', lambda: self._of_first.save_best(step, variables, spec, score))

  def first_state(self, choose: Callable[[Checkpoints], TrainState], like: TrainState) -> TrainState:
    """The state that `choose` gives on the first process."""
    return processes.arrays_of_first('first state', lambda: choose(self._of_first), like)

  def restore_best(self, like: dict) -> tuple[int, dict]:
    """The step of the best variables, and these on the host, once everything is saved."""

    def best_step() -> int:
      self._of_first.wait()
      best = self._of_first.best_step
      assert best is not None  # an epoch was validated
      return best

    step = processes.value_of_first('best step', best_step)
    return step, processes.arrays_of_first('best', lambda: self._of_first.restore_best(like), like)

  def __enter__(self) -> 'SharedCheckpoints':
    if self._own:
      self._own.__enter__()
    return self

  def __exit__(self, *error: Any) -> None:
    if self._own:
      self._own.__exit__(*error)

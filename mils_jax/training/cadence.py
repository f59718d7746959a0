"""When to save a checkpoint within an epoch."""

import dataclasses
import math

from mils_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Cadence:
  """Every so many steps, every so many minutes, or both; 0 turns one off.

  Attributes:
    every_steps: steps from one checkpoint to the next.
    every_minutes: minutes since the last checkpoint.
  """

  every_steps: int
  every_minutes: float

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      if not (math.isfinite(value) and value >= 0):
        raise UserError(f'checkpoint.{name}={value}: must be at least 0 (0: not)')

  def due(self, step: int, seconds: float) -> bool:
    """Whether to save after `step` steps, `seconds` after the last checkpoint."""
    by_steps = self.every_steps > 0 and step % self.every_steps == 0
    by_time = self.every_minutes > 0 and seconds >= 60 * self.every_minutes
    return by_steps or by_time

"""When to save a checkpoint within an epoch."""

import dataclasses

from mils_jax.config import Section, option


@dataclasses.dataclass(frozen=True)
class CheckpointOptions(Section, section='checkpoint'):
  """When the state is saved besides at every epoch's end. It changes no result, so it may differ on resume."""

  every_steps: int = option(0, 'steps between checkpoints, beside those of each epoch; 0: off', low=0)
  every_minutes: float = option(10.0, 'minutes between checkpoints, beside those of each epoch; 0: off', low=0)

  def due(self, step: int, seconds: float) -> bool:
    """Whether to save after `step` steps, `seconds` after the last checkpoint."""
    by_steps = self.every_steps > 0 and step % self.every_steps == 0
    by_time = self.every_minutes > 0 and seconds >= 60 * self.every_minutes
    return by_steps or by_time

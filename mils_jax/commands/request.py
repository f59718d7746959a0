"""What a command is asked to do."""

import dataclasses
from typing import TYPE_CHECKING, Any

from mils_jax.training.run_folder import RunFolder

if TYPE_CHECKING:
  from mils_jax.run_config import RunConfig


@dataclasses.dataclass(frozen=True)
class Request:
  """What the words of a command line, or a program, ask for.

  Attributes:
    command: its name.
    folder: the run folder, or where a sweep or a report goes.
    run: the run's configuration; None for a command that takes no single run.
    sweep: a sweep's configuration as it was written; None for others.
    flags: the command's own.
    words: the whole command line, for the record and for the line that resumes.
  """

  command: str
  folder: RunFolder
  run: 'RunConfig | None'
  sweep: Any
  flags: dict[str, Any]
  words: list[str]

  @property
  def config(self) -> 'RunConfig':
    """The run's configuration, of commands that work on one."""
    assert self.run is not None
    return self.run

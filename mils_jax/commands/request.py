"""The request to a command."""

import dataclasses
from typing import TYPE_CHECKING, Any

from mils_jax.training.run_folder import RunFolder

if TYPE_CHECKING:
  from mils_jax.run_config import RunConfig


@dataclasses.dataclass(frozen=True)
class Request:
  """The request of a command line or of a program.

  Attributes:
    command: name of the command.
    folder: the run folder, or the folder of a sweep or a report.
    run: configuration of the run; None for a command that takes no single run.
    sweep: configuration of a sweep as it was written; None for others.
    flags: flags of the command.
    words: the whole command line, for the record and for the command that resumes.
  """

  command: str
  folder: RunFolder
  run: 'RunConfig | None'
  sweep: Any
  flags: dict[str, Any]
  words: list[str]

  @property
  def config(self) -> 'RunConfig':
    """The run's configuration, for commands that work on a single run."""
    assert self.run is not None
    return self.run

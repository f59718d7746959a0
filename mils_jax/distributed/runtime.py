"""Where and how a run is computed."""

import dataclasses
import os
from pathlib import Path
from typing import ClassVar

from mils_jax.config import Section, option


@dataclasses.dataclass(frozen=True)
class RuntimeOptions(Section):
  """Where and how a run is computed. Changes no result: may differ when a run is resumed."""

  section: ClassVar[str] = 'runtime'

  devices: int = option(0, 'how many of the local devices of each process; 0: all', low=0)
  join_timeout: int = option(300, 'seconds in which all processes of a run must have started', low=1)
  heartbeat_timeout: int = option(100, 'seconds after which a process that is not heard counts as dead', low=1)
  data_placement: str = option('auto', 'device: the data lies on the devices; host: it is sent as needed; auto: by size',
                               choices=('auto', 'device', 'host'))
  cache: str = option('', "folder of dataset caches and compiled programs; empty: the user's cache folder")

  @property
  def cache_folder(self) -> Path:
    """Where dataset caches and compiled programs lie between runs."""
    if self.cache:
      return Path(self.cache)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mils_jax'

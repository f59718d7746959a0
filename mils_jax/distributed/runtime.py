"""Where and how a run is computed."""

import dataclasses
import os
from pathlib import Path

from mils_jax.config import Section, option


@dataclasses.dataclass(frozen=True)
class RuntimeOptions(Section, section='runtime'):
  """Where and how a run is computed. It changes no result, so it may differ on resume."""

  devices: int = option(0, 'local devices used by each process; 0: all', low=0)
  join_timeout: int = option(300, 'seconds that all processes of a run have to start', low=1)
  heartbeat_timeout: int = option(100, 'seconds of silence after which a process counts as dead', low=1)
  data_placement: str = option('auto', 'where the dataset is held: device or host; auto: by size',
                               choices=('auto', 'device', 'host'))
  cache: str = option('', "folder of dataset caches and compiled programs; empty: the user's cache folder", path=True)

  @property
  def cache_folder(self) -> Path:
    """Folder of dataset caches and compiled programs between runs."""
    if self.cache:
      return Path(self.cache)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mils_jax'


def prepare(options: RuntimeOptions, deterministic: bool) -> None:
  """Sets what must be set before the first computation: where compiled programs are cached, and which kernels run.

  Args:
    options: options of the run.
    deterministic: whether GPUs compute the same bits in every run, with slower kernels: XLA then neither chooses
      kernels by measuring nor uses any that add in the order in which threads finish.
  """
  import jax  # here, as the options themselves do not need it

  # Unless the user's environment already sets it; JAX creates its options' attributes while it is imported.
  if jax.config.jax_compilation_cache_dir is None:  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update('jax_compilation_cache_dir', str(options.cache_folder / 'compiled'))
    # XLA's own caches beside it would end a run on a GPU where the folder is not writable: JAX's only warns then.
    jax.config.update('jax_persistent_cache_enable_xla_caches', 'none')
  flag, given = '--xla_gpu_deterministic_ops=true', os.environ.get('XLA_FLAGS', '')
  if deterministic and flag not in given:
    os.environ['XLA_FLAGS'] = f'{given} {flag}'.strip()

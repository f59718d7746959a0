"""What a run writes during training: metrics, timings and TensorBoard events (without TensorFlow)."""

import json
from collections.abc import Mapping
from pathlib import Path

from mils_jax.distributed import processes
from mils_jax.files import replaced
from mils_jax.training.events import Events
from mils_jax.training.run_folder import RunFolder


class Writers:
  """Writes one line per epoch, and the same numbers for TensorBoard; only the first process does.

  Args:
    folder: the run folder.
    step: step that the run resumes from. Lines of this step and later are dropped, as they are written again.
  """

  def __init__(self, folder: RunFolder, step: int):
    if not processes.is_first():
      return
    kept = [line for line in folder.read_metrics() if line['step'] < step]
    _replace_lines(folder.metrics, [json.dumps(line) for line in kept])
    if folder.timings.exists():  # its last line may have been cut short
      _replace_lines(folder.timings, folder.timings.read_text().split('\n')[:-1])
    self._folder = folder
    self._events = Events(folder.path, step)

  def write(self, metrics: Mapping, timings: Mapping) -> None:
    """Appends an epoch: `metrics` holds what state and data determine, `timings` the rest; both have the key 'step'."""
    if not processes.is_first():
      return
    _append_line(self._folder.metrics, metrics)
    _append_line(self._folder.timings, timings)
    self._events.write(metrics['step'], {name: value for name, value in (*metrics.items(), *timings.items())
                                         if isinstance(value, int | float) and name not in ('step', 'epoch')})


def _append_line(path: Path, values: Mapping) -> None:
  with path.open('a') as file:
    file.write(json.dumps(values) + '\n')


def _replace_lines(path: Path, lines: list[str]) -> None:
  with replaced(path) as unfinished:
    unfinished.write_text(''.join(f'{line}\n' for line in lines))

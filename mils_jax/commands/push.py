"""Uploads a model to the Hugging Face Hub: a folder that export wrote, or a run, which is exported first."""

import tempfile
from pathlib import Path

from mils_jax import invocation
from mils_jax.commands import Request
from mils_jax.commands.export import export_lines, run_export
from mils_jax.errors import UserError
from mils_jax.export.huggingface import check_push, push
from mils_jax.export.sidecar import check_loadable, read_sidecar
from mils_jax.progress import log, log_lines
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.signals import StopSignals


def run(request: Request) -> None:
  """Pushes a model and prints how to load it."""
  repository = request.flags['repository']
  if not repository:
    raise UserError(f'{invocation.mode("push")} needs --repository: USER/NAME on the hub')
  check_push(repository)
  with StopSignals(), tempfile.TemporaryDirectory() as temporary:
    folder = request.folder.path
    if request.run is None:
      values = read_sidecar(folder)
      check_loadable(folder, values)
      _check_current(folder, values['step'])
    else:
      folder, comparison = run_export(request.run, request.folder, 'hub', str(Path(temporary) / 'hub'))
      log_lines(export_lines(folder, comparison)[:-1])
    address = push(folder, repository, request.flags['private'])
  log(f"pushed; mils_jax.load('{address}') loads it anywhere")


def _check_current(folder: Path, step: int) -> None:
  """Raises UserError for an export in a run folder if the run has better weights by now."""
  run = RunFolder(folder.absolute().parent.parent)
  if run.exports != folder.absolute().parent or not run.checkpoints.is_dir():
    return
  with Checkpoints(run.checkpoints, read_only=True) as checkpoints:
    best = checkpoints.best_step
  if best not in (None, step):
    raise UserError(f'{folder} was exported at step {step}, and the best of its run is step {best} by now: push '
                    f'{run.path} itself, or delete the export and export the run again')

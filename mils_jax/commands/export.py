"""Exports a trained model in a format for other programs, and checks that it computes the same."""

import dataclasses
import os
import tempfile
from pathlib import Path

from mils_jax import invocation
from mils_jax.commands import Request
from mils_jax.errors import UserError
from mils_jax.export.compare import Comparison, compare, open_images
from mils_jax.export.formats import FORMATS, find_format
from mils_jax.export.function import ExportedModel
from mils_jax.export.model_card import model_card
from mils_jax.export.sidecar import write_sidecar
from mils_jax.files import make_writable
from mils_jax.progress import log, log_lines
from mils_jax.report.text import grouped
from mils_jax.restore import restore
from mils_jax.run_config import RunConfig, saved_config
from mils_jax.training.run_folder import EXPORT, RunFolder
from mils_jax.training.signals import StopSignals


def run_export(config: RunConfig, folder: RunFolder, name: str, output: str = '') -> tuple[Path, Comparison]:
  """Writes a run's best checkpoint in a format and compares it with the model; on failure nothing is written.

  Args:
    config: the run's own, or one that differs in where the data lies.
    folder: the run folder.
    name: name of the format.
    output: folder to create; '': export/NAME in the run folder.

  Returns:
    The folder, and its comparison with the model.

  Raises:
    UserError: there is no such format, it needs a package that is not installed, it cannot hold the model, `output`
      exists or cannot be written, or the run has no checkpoint yet.
    RunError: the export does not compute the same as the model, or the checkpoint is damaged.
  """
  kind = find_format(name)
  target = Path(output) if output else folder.exports / name
  restored = restore(folder, config)  # refuses the folder of another run
  _claim(target)
  model = ExportedModel(dataclasses.replace(restored, config=saved_config(folder)))
  with tempfile.TemporaryDirectory(prefix=f'.{target.name}-', dir=target.parent) as unfinished:
    new = Path(unfinished) / target.name
    new.mkdir()
    log(f'exporting step {restored.step} as {name} ({FORMATS[name]})')
    comparison = compare(model, kind.write(model, new), open_images(model, config))
    if name == 'hub':
      (new / 'README.md').write_text(model_card(model, folder), encoding='utf-8')
    write_sidecar(new, model, name, kind.PACKAGES, comparison.to_json())
    os.rename(new, target)
  return target, comparison


def _claim(target: Path) -> None:
  """Raises UserError where the folder exists or cannot be created."""
  if target.exists():
    raise UserError(f'--output {target} exists: give a folder that does not exist')
  make_writable(target.parent, target)


def run(request: Request) -> None:
  """Exports a run and prints the comparison with the model and the written files."""
  name, output = request.flags['format'], request.flags['output']
  if not name:
    raise UserError(f'{invocation.mode("export")} needs --format. Valid: {", ".join(FORMATS)}')
  with StopSignals():  # so that unfinished output is deleted
    target, comparison = run_export(request.config, request.folder, name, output)
  log_lines(export_lines(target, comparison))
  if name == 'hub':
    log_lines(invocation.next_lines('to the Hugging Face Hub', 'push', workdir=target, repository='USER/NAME'))


def export_lines(target: Path, comparison: Comparison) -> list[str]:
  """The comparison with the model, and the files with their sizes."""
  return [f'compared with the model: {comparison}',
          *(f'  {path.name:<20} {grouped(path.stat().st_size)} bytes' for path in sorted(target.iterdir())),
          f'everything in {target}; {EXPORT} describes its inputs and outputs']

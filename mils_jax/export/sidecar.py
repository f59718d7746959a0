"""The JSON file of an export: its inputs and outputs, how it was checked, and a hash of every file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import mils_jax
from mils_jax.errors import RunError, UserError
from mils_jax.export.formats import FORMATS
from mils_jax.export.function import ExportedModel
from mils_jax.packages import version
from mils_jax.training.run_folder import EXPORT, write_json

SCHEMA = 1
INPUT = {
    'images': 'float32 (B, H, W, C): any B, H and W as in image_size, C in the order of channels.names; values in '
              'channels.units, as the data has them, not normalized; pixels that hold nodata, where that is a number, '
              'count as without data; any others without data are to hold channels.fill, or channels.mean where there '
              'is none',
    'present': 'bool (B, C): false where an image lacks the channel, whose values then do not count, be they NaN; at '
               'least one of those in trained is true; channels that are not in trained are always taken as missing',
}
OUTPUT = {'logits': 'float32 (B, classes), in the order of classes; softmax over the classes gives probabilities'}
WEIGHTS = {
    'images': 'float32 (B, C, H, W): H and W as in image_size, C in the order of channels.names; (value - '
              'channels.mean) / channels.std, and 0 in a missing channel and in those that are not in trained',
}
WEIGHTS_OUTPUT = {'logits': 'float32 (B, num_logits), of which the first are those of classes, in their order; softmax '
                            'over the classes gives probabilities'}
HUB_FILES = ('model.safetensors', 'config.json')  # what mils_jax.load reads
TEXTS = ('README.md',)  # for people, who may edit it; not hashed


def write_sidecar(folder: Path, model: ExportedModel, name: str, packages: tuple[str, ...],
                  comparison: dict[str, Any]) -> None:
  """Writes export.json beside the exported files.

  Args:
    folder: folder with the exported files and nothing else.
    model: the exported model.
    name: name of the format.
    packages: packages whose versions are recorded.
    comparison: comparison with the model, from Comparison.to_json.
  """
  restored = model.restored
  values = {
      'schema': SCHEMA, 'format': name, 'name': restored.config.name, 'model': restored.config.model.name,
      'step': restored.step, 'precision': 'float32',
      'versions': {'mils-jax': mils_jax.__version__,
                   **{package: version(package) for package in ('jax', 'flax', 'numpy', *packages)}},
      'input': WEIGHTS if name == 'safetensors' else INPUT,
      'output': WEIGHTS_OUTPUT if name == 'safetensors' else OUTPUT, 'num_logits': model.network.num_classes,
      'schedules': {name: float(value) for name, value in restored.variables.get('schedules', {}).items()},
      **restored.spec.to_json(), 'classes': list(model.classes), 'nodata': restored.config.data.nodata,
      'comparison': comparison, 'files': {path.name: _hash(path) for path in _hashed(folder)},
  }
  write_json(folder / EXPORT, {**values, 'sha256': _hash_of(values)})


def read_sidecar(folder: Path) -> dict[str, Any]:
  """The contents of export.json, after every file was checked by its hash.

  Raises:
    UserError: the folder is no export, or one of a later version of the program.
    RunError: export.json or a file has changed.
  """
  path = folder / EXPORT
  try:
    values = json.loads(path.read_text(encoding='utf-8'))
    written, schema = values.pop('sha256'), int(values['schema'])
    files = dict(values['files'])
  except FileNotFoundError as error:
    raise UserError(f'{folder} is no export: it has no {EXPORT}') from error
  except (ValueError, KeyError, AttributeError, TypeError) as error:
    raise RunError(f'{path} cannot be read: {error}. Export the run again') from error
  if schema > SCHEMA:
    raise UserError(f'{folder} was exported by a later version ({values.get("versions", {}).get("mils-jax")}) than '
                    f'this one, {mils_jax.__version__}: expected schema {SCHEMA}, not {schema}')
  if written != _hash_of(values):
    raise RunError(f'{path} has changed since it was exported. Export the run again, or fetch the folder again')
  for name, expected in files.items():
    if Path(name).name != name:
      raise RunError(f'{path} names a file outside of its folder: {name}')
    if not (folder / name).is_file():
      raise RunError(f'{folder / name} is missing. Export the run again, or fetch the folder again')
    if _hash(folder / name) != expected:
      raise RunError(f'{folder / name} has changed since it was exported (SHA-256). Export the run again, or fetch the '
                     'folder again')
  return values


def check_loadable(folder: Path, values: dict[str, Any]) -> None:
  """Raises UserError where the format of the export is for other programs only, RunError where a hash is missing."""
  if values['format'] != 'hub':
    raise UserError(f'{folder} is an export in the format {values["format"]} ({FORMATS.get(values["format"], "")}); '
                    'expected a run folder or an export in the format hub')
  if missing := [name for name in HUB_FILES if name not in values['files']]:
    raise RunError(f'{folder / EXPORT} has no hash of {missing[0]}. Export the run again, or fetch the folder again')


def _hashed(folder: Path) -> list[Path]:
  return sorted(path for path in folder.iterdir() if path.name not in (EXPORT, *TEXTS))


def _hash(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _hash_of(values: dict[str, Any]) -> str:
  return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

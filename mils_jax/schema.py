"""Translates the files of older versions.

Fields that were added to config.json later are not listed: they are missing in older files and then have their default,
so a new option's default must mean "as before it existed" (or its declaration gives another). Only renamed, moved and
removed fields are listed.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mils_jax.errors import UserError

FREE = ('runtime', 'checkpoint', 'evaluation')  # sections that change no result: they may differ when a run is resumed
VERSION = 2
KEY = 'schema'

# Version 1: the old name of each field, and its new name.
RENAMED = {
    'channels.slots': 'channels.names',
    'channels.sampling': 'channel_dropout.method',
    'channels.drop_rate': 'channel_dropout.rate',
    'channels.sampling_per': 'channel_dropout.per',
    'model.fill': 'model.imputation',
    'model.kernels': 'model.num_kernels',
    'model.formulation': 'model.mix',
    'augment.quarter_turns': 'augment.rot90',
    'runtime.gather': 'runtime.data_placement',
    'data.allow_outside': 'data.folder.allow_outside',
    'data.num_train': 'data.shapes.num_train',
    'data.num_val': 'data.shapes.num_val',
    'data.num_test': 'data.shapes.num_test',
    'data.tfds_name': 'data.tfds.name',
    'data.image_key': 'data.tfds.image_key',
    'data.label_key': 'data.tfds.label_key',
    'data.train_split': 'data.tfds.train_split',
    'data.val_split': 'data.tfds.val_split',
    'data.test_split': 'data.tfds.test_split',
}
REMOVED = {'channel_dropout.start': 0.0}  # removed fields, with the value under which a run is as without them
KEYS = {  # renamed keys of other files
    'results': {'slots': 'input_channels'},
    'subsets': {'worth': 'importance'},
    'predictions': {'identity': 'example_id'},
    'record': {'contract': 'spec', 'validation_accuracy': 'score'},
    'spec': {'files_say': 'stated_channels'},
    'channels': {'slots': 'names'},
}
FILES = {'subsets.npz': 'subset_predictions.npz', 'sweep.json': 'study.json'}  # files, and their old names
VALUES = {  # renamed values of config.json, under the field's new name
    'model.mix': {'parallel': 'outputs', 'mixed': 'kernels'},
    'runtime.data_placement': {'resident': 'device', 'streamed': 'host'},
}


def upgraded_config(config: dict[str, Any]) -> dict[str, Any]:
  """The same configuration with current names, without the schema's version.

  Raises:
    UserError: it was written by a later version, or uses a field that was removed.
  """
  version = config.get(KEY, 1)
  if not isinstance(version, int) or version > VERSION:
    raise UserError(f'config.json has schema {version}, this version of mils-jax knows {VERSION}: use a newer one')
  fields = dict(flattened({name: value for name, value in config.items() if name != KEY}))
  if version < 2:
    fields = {RENAMED.get(name, name): value for name, value in fields.items()}
    fields |= {name: new.get(fields[name], fields[name]) for name, new in VALUES.items() if name in fields}
  for name, neutral in REMOVED.items():
    if fields.pop(name, neutral) != neutral:
      raise UserError(f'{name} is gone; a run that was trained with it can be used only by the version that made it')
  return nested(fields)


def upgraded(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
  """A mapping in a file of one of the kinds of `KEYS`, with current names."""
  values = {**values}  # a TypeError where a damaged file has something else here
  return {KEYS[kind].get(name, name): value for name, value in values.items()}


def with_old_names(path: Path) -> list[Path]:
  """A file, and the same by the names that it had before."""
  return [path, *(path.with_name(old) for new, old in FILES.items() if new == path.name)]


def upgraded_record(values: Mapping[str, Any]) -> dict[str, Any]:
  """A checkpoint's record with current names; where only an accuracy was stored, its unknown loss ranks last."""
  values = upgraded('record', values)
  if isinstance(values['score'], int | float):
    values['score'] = [values['score'], -math.inf]
  return values


def upgraded_predictions(arrays: Mapping[str, Any]) -> dict[str, Any]:
  """The arrays of predictions with current names; `subsets`, as tuples of channels, if they were written 'red,nir'."""
  values = upgraded('predictions', arrays)
  if 'subset' in values:
    values['subsets'] = [tuple(name.split(',')) for name in values.pop('subset').tolist()]
  return values


def flattened(section: dict[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
  """(full name, value) of every field of nested sections, such as ('train.epochs', 6)."""
  for name, value in section.items():
    if isinstance(value, dict):
      yield from flattened(value, f'{prefix}{name}.')
    else:
      yield prefix + name, value


def nested(fields: dict[str, Any]) -> dict[str, Any]:
  """The inverse of `flattened`."""
  config: dict[str, Any] = {}
  for name, value in fields.items():
    *sections, last = name.split('.')
    inner = config
    for section in sections:
      inner = inner.setdefault(section, {})
    inner[last] = value
  return config

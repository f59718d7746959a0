"""Any TFDS classification dataset, read through TFDS's random-access data source, without TensorFlow."""

import dataclasses
import functools
import os
from difflib import get_close_matches
from typing import Any

import numpy as np

from mils_jax import invocation
from mils_jax.config import Section, option
from mils_jax.data.sources import names, pixels
from mils_jax.data.sources.pixels import FROM_FILE, NO_NODATA, Reading
from mils_jax.data.sources.registry import DataOptions, register
from mils_jax.data.sources.source import Source, hashed_example_id
from mils_jax.errors import RunError, UserError, one_line

_OWN_NAMES = {'train': ('train',), 'val': ('validation', 'val', 'valid', 'dev'), 'test': ('test',)}


class TfdsSource(Source):
  """A TFDS dataset, which is prepared first if needed.

  Args:
    name: name of the set, with its configuration and version where needed: cifar10, eurosat/all.
    data_dir: TFDS's folder of prepared sets; '': its default.
    reading: how images are read; only its size and nodata are used.
    channel_names: names of the channels; empty: R, G, B for three, else c0, c1, ...
    image_key, label_key: features of the set that hold the image (H, W, C) and the label.
    splits: TFDS's name or slice for each of train, val and test; '': the dataset's own name for it, if it has one.
    group_by: feature with the scene, slide or patient of an image; '': none.

  Raises:
    UserError: the dataset, a key or a split is unknown, or the dataset cannot be prepared here.
  """

  def __init__(self, name: str, data_dir: str, reading: Reading, channel_names: tuple[str, ...], image_key: str,
               label_key: str, splits: dict[str, str], group_by: str = ''):
    self.name, self.data_dir, self.reading = name, data_dir, reading
    self.image_key, self.label_key, self._group_by = image_key, label_key, group_by
    self._latest: tuple[tuple[str, int] | None, Any] = (None, None)
    builder = self._builder
    features = builder.info.features
    grouped = [('group_by', group_by)] if group_by else []
    for field, key in (('tfds.image_key', image_key), ('tfds.label_key', label_key), *grouped):
      if key not in features:
        raise UserError(f"data.{field}='{key}': {name} has no such feature. Valid: {', '.join(features)}")
    self._splits = self._find_splits(splits)
    self.splits = tuple(self._splits)
    count = features[label_key].num_classes if hasattr(features[label_key], 'num_classes') else None
    if count is None:
      raise UserError(f"data.tfds.label_key='{label_key}': not a class label in {name}, but {features[label_key]}")
    self.classes = tuple(features[label_key].int2str(label) for label in range(count))
    try:
      image = self._image('train', 0)
    except (AttributeError, TypeError, ValueError) as error:  # no image, or one that TFDS cannot decode
      raise UserError(f"data.tfds.image_key='{image_key}': no image that can be read: {one_line(error)}") from error
    pixels.check_dtype(image.dtype, f"{name}, feature '{image_key}'")
    self.channels, self.notes = names.name_channels(image.shape[-1], channel_names, 'data.channel_names',
                                                      image.dtype == np.uint8)
    self.units = ('',) * len(self.channels)

  def length(self, split: str) -> int:
    return len(self._data[split])

  def labels(self, split: str) -> np.ndarray:
    labels = np.array(self._column(split, self.label_key), np.int32)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
    if len(wrong):
      raise UserError(f'{self.name}: example {wrong[0]} of {split} has label {labels[wrong[0]]}; '
                      f'valid: 0 to {len(self.classes) - 1}')
    return labels

  def groups(self, split: str) -> np.ndarray | None:
    if not self._group_by:
      return None
    if self._builder.info.features[self._group_by].shape != () or self._group_by in (self.image_key, self.label_key):
      raise UserError(f"data.group_by='{self._group_by}': expected a feature with one number or text for each image")
    return np.array([value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)
                     for value in self._column(split, self._group_by)])

  def _column(self, split: str, key: str) -> list:
    """Reads a feature of all examples of a split, without decoding their images."""
    import tensorflow_datasets as tfds

    undecoded = self._builder.as_data_source(split=self._splits[split],
                                             decoders={self.image_key: tfds.decode.SkipDecoding()})
    return [undecoded[row][key] for row in range(len(undecoded))]

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    image = pixels.without_nodata(self._image(split, index), self.reading.nodata)
    return pixels.resize_square(image, self.reading.size), int(self._example(split, index)[self.label_key])

  def example_id(self, split: str, index: int) -> str:
    return hashed_example_id(split, self._image(split, index))

  def place(self, split: str, index: int) -> str:
    return f'{self.name}, example {index} of {self._splits[split]}'

  def settings(self) -> dict:
    return {'source': 'tfds', 'name': self._builder.info.full_name, 'splits': self._splits, 'image_key': self.image_key,
            'label_key': self.label_key, 'image_size': self.reading.size, 'channels': self.channels,
            **({'nodata': self.reading.nodata} if self.reading.nodata not in (NO_NODATA, FROM_FILE) else {})}

  def inputs(self) -> list[tuple[str, int, int]]:
    folder = os.fspath(self._builder.data_dir)
    with os.scandir(folder) as entries:
      return sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries)

  def _image(self, split: str, index: int) -> np.ndarray:
    return pixels.channels_last(self._example(split, index)[self.image_key], 'last', self.place(split, index))

  def _example(self, split: str, index: int) -> dict[str, Any]:
    """Reads an example and caches the latest: its image, label and example_id are read one after the other."""
    known, example = self._latest
    if known != (split, index):
      example = self._data[split][index]
      self._latest = ((split, index), example)
    return example

  def __getstate__(self) -> dict:
    return {key: value for key, value in self.__dict__.items() if key not in ('_builder', '_data')}

  @functools.cached_property
  def _data(self) -> dict[str, Any]:
    return {split: self._builder.as_data_source(split=own) for split, own in self._splits.items()}

  @functools.cached_property
  def _builder(self) -> Any:
    return _prepared_builder(self.name, self.data_dir)

  def _find_splits(self, splits: dict[str, str]) -> dict[str, str]:
    available = self._builder.info.splits
    found = {}
    for split, asked in splits.items():
      own = asked or next((name for name in _OWN_NAMES[split] if name in available), '')
      if not own:
        continue
      try:
        length = available[own].num_examples
      except (KeyError, ValueError) as error:
        raise UserError(f"data.tfds.{split}_split='{own}': {self.name} has no such split. Valid: "
                        f"{', '.join(available)} and slices such as {next(iter(available))}[:90%]") from error
      if not length:
        raise UserError(f"data.tfds.{split}_split='{own}': the split is empty")
      found[split] = own
    if 'train' not in found:
      raise UserError(f"data.tfds.train_split='': {self.name} has no split of that name. Valid: "
                      f"{', '.join(available)} and slices such as {next(iter(available))}[:90%]")
    self._check_apart(found)
    return found

  def _check_apart(self, splits: dict[str, str]) -> None:
    """Raises UserError where the validation or test split has examples of the training split."""
    from tensorflow_datasets.core import ReadInstruction

    infos = self._builder.info.splits
    parts = {split: [(part.splitname, part.from_ or 0, part.to or infos[part.splitname].num_examples)
                     for part in ReadInstruction.from_spec(own).to_absolute(infos)]
             for split, own in splits.items()}
    for split in ('val', 'test'):
      shared = sum(max(0, min(end, other_end) - max(start, other_start))
                   for name, start, end in parts['train'] for other, other_start, other_end in parts.get(split, ())
                   if name == other)
      if shared:
        raise UserError(f"data.tfds.{split}_split='{splits[split]}': {shared} of its examples are training examples, "
                        f"of train_split='{splits['train']}'; expected none, as in train[:80%] and train[80%:]")


def _prepared_builder(name: str, data_dir: str) -> Any:
  """The builder of a dataset in a format that needs no TensorFlow; prepares it if needed."""
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder(name, data_dir=data_dir or None, file_format='array_record')
  except (tfds.core.DatasetNotFoundError, ValueError, KeyError, AttributeError, AssertionError) as error:
    raise _not_opened(name, error) from error
  if not builder.is_prepared():
    _prepare(builder, name)
  return builder


def _not_opened(name: str, error: Exception) -> UserError:
  """The UserError for an error of TFDS: an unknown dataset, or one that only TensorFlow reads."""
  import tensorflow_datasets as tfds

  reason = ' '.join(str(error).strip().split('\n')[0].split())
  if 'File format is already set' in reason:
    return UserError(f'{name}: is prepared in a format that only TensorFlow reads; expected array_record. Give '
                     'another folder as data.path, where it is prepared anew, or prepare it yourself by '
                     "download_and_prepare(file_format='array_record')")
  known, base = tfds.list_builders(with_community_datasets=False), name.split('/')[0].split(':')[0]
  if base in known:
    known += [f'{base}/{config}' for config in tfds.builder_cls(base).builder_configs]
    reason = reason.rpartition('}": ')[2].partition('. Here are')[0]  # without the arguments of TFDS
  near = get_close_matches(name.split(':')[0], known, n=5)
  return UserError(f"unknown TFDS set data.tfds.name='{name}' ({reason}). "
                   f"Near names: {', '.join(near) or 'none'}; all are listed by tfds.list_builders()")


def _prepare(builder: Any, name: str) -> None:
  import tensorflow_datasets as tfds

  try:
    builder.download_and_prepare(file_format='array_record')
  except ImportError as error:
    module = _missing_module(error)
    if module == 'tensorflow':
      raise UserError(f'{name}: TFDS needs TensorFlow once to prepare this set (not to read it); '
                      f"{invocation.install('tfds-prepare')}, or prepare it elsewhere and name that folder in "
                      'data.path') from error
    raise UserError(f'{name}: TFDS needs the module {module} to prepare this set; install it, or prepare the set '
                    'elsewhere and name that folder in data.path') from error
  except (OSError, AssertionError, tfds.download.DownloadError) as error:
    raise RunError(f'{name}: TFDS could not prepare this set: {one_line(error, 300)}. Nothing was kept; start again, '
                   'or prepare it elsewhere and name that folder in data.path') from error


def _missing_module(error: BaseException | None) -> str:
  """The missing module that caused a chain of errors; TFDS re-raises the first one without its name."""
  while error is not None:
    if isinstance(error, ImportError) and error.name:
      return error.name.split('.')[0]
    error = error.__cause__ or error.__context__
  return 'that it asks for'


@dataclasses.dataclass(frozen=True)
class TfdsOptions(Section, section='data.tfds'):
  """Options that only TensorFlow Datasets have."""

  name: str = option('', 'dataset name in TFDS, such as cifar10 or eurosat/all')
  image_key: str = option('image', 'feature that holds the image')
  label_key: str = option('label', 'feature that holds the label')
  train_split: str = option('train', 'training split: a name or a slice, such as train[:90%]')
  val_split: str = option('', "validation split: a name or a slice; empty: the dataset's own, else cut from training")
  test_split: str = option('', "test split: a name or a slice; empty: the dataset's own, else cut from training")


@register('tfds', TfdsOptions, title='TensorFlow Datasets')
def open_tfds_source(data: DataOptions, own: TfdsOptions) -> TfdsSource:
  splits = {'train': own.train_split, 'val': own.val_split, 'test': own.test_split}
  return TfdsSource(own.name, data.path, data.reading, data.names, own.image_key, own.label_key, splits,
                    data.group_by)

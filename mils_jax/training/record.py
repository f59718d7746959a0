"""The record inside every checkpoint: what it holds, with a checksum of every array, so that no damage passes unseen.

Orbax restores a flipped byte silently; the record reveals it.
"""

import dataclasses
import json
import zlib
from typing import Any

import numpy as np

from mils_jax.channels import ChannelSpec
from mils_jax.data.sources.source import Statement
from mils_jax.errors import DamagedError, UserError
from mils_jax.models.variables import by_path
from mils_jax.schema import upgraded, upgraded_record
from mils_jax.training.selection import Score

SPEC = 'spec'


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """What a trained model takes and returns, beside its arrays.

  Attributes:
    channels: its input channels.
    classes: the names of its logits; a model may have more logits than named classes.
    image_size: height and width of the images that it was trained on.
    data_fingerprint: fingerprint of the dataset cache that it was trained on.
    trained: the input channels that training had; the weights of the others were never trained.
    data_channels: all channels of the training data, in their order, also those that the run was not given.
    data_content: digest of the training data itself, wherever it lies; '' in checkpoints from before it was stored.
    stated_channels: what the training files call their channels; None in checkpoints from before it was stored.
  """

  channels: ChannelSpec
  classes: tuple[str, ...]
  image_size: tuple[int, int]
  data_fingerprint: str
  trained: tuple[str, ...]
  data_channels: tuple[str, ...] = ()
  data_content: str = ''
  stated_channels: Statement | None = None

  def was_made_for(self, now: 'ModelSpec') -> bool:
    """Whether a run with this specification can resume on what another specification describes.

    The data is the same where the content that a run sees is the same. Older checkpoints did not store that: there,
    the files must be unchanged.
    """
    same = (self.data_content == now.data_content if self.data_content and now.data_content
            else self.data_fingerprint == now.data_fingerprint)

    def rest(spec: ModelSpec) -> tuple:
      channels = spec.channels
      return (channels.names, channels.units, channels.mean, channels.std, spec.classes, spec.image_size, spec.trained)

    return same and rest(self) == rest(now)

  def to_json(self) -> dict:
    return {'channels': self.channels.to_json(), 'classes': list(self.classes), 'image_size': list(self.image_size),
            'data_fingerprint': self.data_fingerprint, 'trained': list(self.trained),
            'data_channels': list(self.data_channels), 'data_content': self.data_content,
            'stated_channels': self.stated_channels and [self.stated_channels.by, list(self.stated_channels.names)]}

  @classmethod
  def from_json(cls, values: dict) -> 'ModelSpec':
    values = upgraded('spec', values)
    channels = ChannelSpec.from_json(values['channels'])
    trained = tuple(values.get('trained', channels.names))  # older checkpoints do not have it
    stated = values.get('stated_channels')
    return cls(channels, tuple(values['classes']), tuple(values['image_size']), values['data_fingerprint'], trained,
               tuple(values.get('data_channels', channels.names)), values.get('data_content', ''),
               stated and Statement(stated[0], tuple(stated[1])))


@dataclasses.dataclass(frozen=True)
class Record:
  """What a checkpoint stores about itself.

  Attributes:
    spec: specification of the model.
    arrays: by path in the tree, the array's shape, dtype and CRC-32.
    score: validation score of the parameters, as in selection.py; None where they were not validated.
  """

  spec: ModelSpec
  arrays: dict[str, list]
  score: Score | None

  @classmethod
  def of(cls, tree: Any, spec: ModelSpec, score: Score | None) -> 'Record':
    arrays = {path: [*_kind(array), _checksum(array)] for path, array in by_path(tree).items()}
    return cls(spec, arrays, score)

  def to_json(self) -> dict:
    values = {SPEC: self.spec.to_json(), 'arrays': self.arrays,
              'score': self.score and list(self.score)}
    return {**values, 'checksum': _checksum_of_json(values)}

  @classmethod
  def from_json(cls, values: dict) -> 'Record':
    """Raises DamagedError where the record is not as it was written."""
    try:
      written = values.pop('checksum')
      if written != _checksum_of_json(values):
        raise DamagedError('its record has changed')
      values = upgraded_record(values)
      score = values['score']
      return cls(ModelSpec.from_json(values[SPEC]), values['arrays'], score and (score[0], score[1]))
    except (AttributeError, KeyError, TypeError) as error:
      raise DamagedError(f'its record is not one ({error})') from error

  def check_structure(self, like: Any) -> None:
    """Raises UserError where a tree like `like` is not what was saved: the configuration is another."""
    expected = {path: _kind(array) for path, array in by_path(like).items()}
    saved = {path: kind for path, (*kind, _) in self.arrays.items() if path.split('/')[0] in like}
    for path in sorted(expected.keys() | saved.keys()):
      if expected.get(path) != saved.get(path):
        raise UserError(f'the checkpoint does not fit the configuration: {path} is {_describe(saved.get(path))} in the '
                        f'checkpoint, {_describe(expected.get(path))} by the configuration')

  def check_arrays(self, tree: Any) -> None:
    """Raises DamagedError where an array is not as it was saved."""
    for path, array in by_path(tree).items():
      if _checksum(array) != self.arrays[path][-1]:
        raise DamagedError(f'the array {path} has changed')


def _kind(array: Any) -> list:
  return [list(array.shape), np.dtype(array.dtype).name]


def _describe(kind: list | None) -> str:
  return 'missing' if kind is None else f'{kind[1]} of shape {tuple(kind[0])}'


def _checksum(array: np.ndarray) -> int:
  return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)


def _checksum_of_json(values: dict) -> int:
  return zlib.crc32(json.dumps(values, sort_keys=True).encode())

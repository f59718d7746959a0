"""What every source of labelled images offers, and all that building its dataset cache needs."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from mils_jax.errors import UserError

SPLITS = ('train', 'val', 'test')
ALL = 'all'  # of a set that a model was not trained on
# What a split's folder, list or array may be called; folders and lists in upper and lower case alike.
CALLED = {'train': ('train', 'training'), 'val': ('val', 'valid', 'validation', 'dev'), 'test': ('test', 'testing')}
LISTED, OWN, COLOUR = 'listed', 'own', 'colour'  # what may say what channels are: channels.txt, the file, its kind
DTYPES = ('uint8', 'int16', 'uint16', 'float32')


@dataclasses.dataclass(frozen=True)
class Statement:
  """What something says an image's channels are.

  Attributes:
    by: LISTED, OWN or COLOUR; '' where nothing says it.
    names: of the channels.
  """

  by: str = ''
  names: tuple[str, ...] = ()

  @classmethod
  def of(cls, count: int, listed: Sequence[str], own: Sequence[str], color: Sequence[str]) -> 'Statement':
    """The nearest that names all of `count` channels; arguments as of `assign`."""
    found = ((by, tuple(names)) for by, names in ((LISTED, listed), (OWN, own), (COLOUR, color)) if len(names) == count)
    return cls(*next(found, ('', ())))


NOTHING_SAID = Statement()


class Source(Protocol):
  """Labelled images in up to three splits.

  Opening a source lists its inputs and may look at a few images; it never decodes all of them. A source can be
  pickled, so that other processes can read from it.

  Attributes:
    classes: name of each class, in the order of the labels.
    channels: name of each channel, in the order of the images' last axis.
    units: unit of each channel's values, '' where unknown.
    files_say: what its files say the channels are, which the configuration may call otherwise; None: not the same.
    splits: which of `SPLITS` it has.
    decodes: whether reading an image costs enough that several processes are worth starting.
    notes: lines that the user should see, about what had to be assumed.
  """

  classes: tuple[str, ...]
  decodes: bool
  notes: tuple[str, ...]

  @property
  def channels(self) -> tuple[str, ...]: ...

  @property
  def units(self) -> tuple[str, ...]: ...

  @property
  def files_say(self) -> Statement | None: ...

  @property
  def splits(self) -> tuple[str, ...]: ...

  def length(self, split: str) -> int:
    """How many images the split has."""
    ...

  def labels(self, split: str) -> np.ndarray:
    """(N,) int32: every label of the split, checked to be one of the classes."""
    ...

  def groups(self, split: str) -> np.ndarray | None:
    """(N,) text: the scene, slide or patient of each image, by data.group_by; None where that is not asked for."""
    ...

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    """One image (H, W, C), in its own dtype, masked where pixels or channels are missing, and its label."""
    ...

  def remarks(self, split: str, index: int) -> tuple[str, ...]:
    """What was done with the image that is not plain; asked right after it was read."""
    ...

  def example_id(self, split: str, index: int) -> str:
    """What identifies this image, whatever its size: a relative path, or the split and a hash of the original."""
    ...

  def place(self, split: str, index: int) -> str:
    """Where a person finds this image, for messages."""
    ...

  def settings(self) -> dict:
    """The settings that the dataset cache depends on, as values that JSON can hold."""
    ...

  def inputs(self) -> list[tuple[str, int, int]]:
    """Name, size in bytes and time of last change in ns of every input file, by listing alone."""
    ...


def hashed_example_id(split: str, original: np.ndarray) -> str:
  """The example_id of an image without a file of its own: its split and a hash of the array as it was given."""
  original = np.ascontiguousarray(original)
  digest = hashlib.blake2b(f'{original.dtype.str}{original.shape}'.encode(), digest_size=10)
  digest.update(original.data)
  return f'{split}:{digest.hexdigest()}'


Item = TypeVar('Item')
Found = TypeVar('Found')


def first_readable(read: Callable[[Item], Found], items: Iterable[Item]) -> Found:
  """What `read` gives for the first item that can be read, of at least one; raises the first failure where none can."""
  failure: UserError | None = None
  for item in items:
    try:
      return read(item)
    except UserError as error:
      failure = failure or error
  assert failure is not None
  raise failure

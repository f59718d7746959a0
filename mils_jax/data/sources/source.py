"""The interface of every source of labelled images, which is all that building the dataset cache needs."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from mils_jax.errors import UserError

SPLITS = ('train', 'val', 'test')
ALL = 'all'  # every image of a dataset that a model was not trained on
# Names of a split's folder, list or arrays; those of folders and lists are case-insensitive.
CALLED = {'train': ('train', 'training'), 'val': ('val', 'valid', 'validation', 'dev'), 'test': ('test', 'testing')}
LISTED, OWN, COLOUR = 'listed', 'own', 'colour'  # what may name channels: channels.txt, the file, its kind
DTYPES = ('uint8', 'int16', 'uint16', 'float32')


@dataclasses.dataclass(frozen=True)
class Statement:
  """A statement of an image's channels.

  Attributes:
    by: LISTED, OWN or COLOUR; '' where nothing names them.
    names: names of the channels.
  """

  by: str = ''
  names: tuple[str, ...] = ()

  @classmethod
  def of(cls, count: int, listed: Sequence[str], own: Sequence[str], color: Sequence[str]) -> 'Statement':
    """The first statement that names all `count` channels; arguments as in `assign`."""
    found = ((by, tuple(names)) for by, names in ((LISTED, listed), (OWN, own), (COLOUR, color)) if len(names) == count)
    return cls(*next(found, ('', ())))


NOTHING_STATED = Statement()


class Source(Protocol):
  """Labelled images in up to three splits; the kinds of sources inherit what is the same for most of them.

  Opening a source lists its inputs and may look at a few images; it never decodes all of them. A source can be
  pickled, so that other processes can read from it.

  Attributes:
    classes: name of each class, in the order of the labels.
    channels: name of each channel, in the order of the images' last axis.
    units: unit of each channel's values, '' where unknown.
    stated_channels: what its files call the channels, which the configuration may rename; None: the files do not agree.
    splits: which of `SPLITS` it has.
    decodes: whether reading an image costs enough to start several processes.
    notes: lines for the user on what was assumed.
  """

  classes: tuple[str, ...]
  channels: tuple[str, ...]
  units: tuple[str, ...]
  stated_channels: Statement | None = NOTHING_STATED
  splits: tuple[str, ...]
  decodes: bool = False
  notes: tuple[str, ...] = ()

  def length(self, split: str) -> int:
    """Number of images in the split."""
    ...

  def labels(self, split: str) -> np.ndarray:
    """(N,) int32: every label of the split, checked to be one of the classes."""
    ...

  def groups(self, split: str) -> np.ndarray | None:
    """(N,) text: the scene, slide or patient of each image, by data.group_by; None where that is not set."""
    return None

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    """One image (H, W, C), in its own dtype, masked where pixels or channels are missing, and its label."""
    ...

  def remarks(self, split: str, index: int) -> tuple[str, ...]:
    """Notes on the conversion of the image; called right after it was read."""
    return ()

  def example_id(self, split: str, index: int) -> str:
    """Identifies this image, whatever its size, by a relative path, or by the split and a hash of the original."""
    ...

  def place(self, split: str, index: int) -> str:
    """Location of this image, for messages."""
    ...

  def settings(self) -> dict:
    """The settings that the dataset cache depends on, as values that JSON can hold."""
    ...

  def inputs(self) -> list[tuple[str, int, int]]:
    """Name, size in bytes and modification time in ns of every input file, without reading the files.

    The size of a listed image that is not there is -1.
    """
    ...

  def missing(self) -> list[str]:
    """For each listed image that is not there, a message that names it."""
    return []


def hashed_example_id(split: str, original: np.ndarray) -> str:
  """The example_id of an image without a file of its own: its split and a hash of the original array."""
  original = np.ascontiguousarray(original)
  digest = hashlib.blake2b(f'{original.dtype.str}{original.shape}'.encode(), digest_size=10)
  digest.update(original.data)
  return f'{split}:{digest.hexdigest()}'


Item = TypeVar('Item')
Found = TypeVar('Found')


def first_readable(read: Callable[[Item], Found], items: Iterable[Item]) -> Found:
  """Result of `read` for the first readable one of at least one item; raises the first error where none is readable."""
  failure: UserError | None = None
  for item in items:
    try:
      return read(item)
    except UserError as error:
      failure = failure or error
  assert failure is not None
  raise failure


def check_classes(classes: Sequence[str], where: str) -> None:
  """Raises UserError where two classes have one name."""
  name, times = Counter(classes).most_common(1)[0] if classes else ('', 0)
  if times > 1:
    raise UserError(f"{where}: names the class '{name}' {times} times; each class needs a name of its own")

"""Names and units of channels: the one rule by which training and prediction read them.

The first of these that names an image's channels counts: the configuration (or, in prediction, --channels), the nearest
channels.txt, the file itself, and the other images of the dataset.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mils_jax.data.sources.source import CALLED, COLOUR, OWN, Statement
from mils_jax.errors import UserError

GREY, ALPHA = 'grey', 'alpha'
RGB = ('R', 'G', 'B')
CHANNELS_FILE = 'channels.txt'
FILLED = 'channels without names filled the first channels'
_COLOURS = {'r': 'red', 'g': 'green', 'b': 'blue', 'gray': 'grey'}
_NUMBER = re.compile(r'(?i)(?:band|channel|ch|layer|image|page|slice|c)?[ _#:-]*([0-9]+)')


def name_channels(count: int, given: Sequence[str], where: str, coloured: bool = False
                  ) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Decides the names of `count` channels.

  Args:
    count: number of channels of the images.
    given: the names, or nothing.
    where: origin of the names, for the error.
    coloured: whether the images are known to be colour photographs.

  Returns:
    The names, and notes on what was assumed.

  Raises:
    UserError: a name is empty or given twice, or the numbers of names and channels differ.
  """
  if given:
    if len(given) != count:
      raise UserError(f"{where}: {len(given)} channel names ({', '.join(given)}), but the images have {count} "
                      'channels')
    check_different(given, where)
    return tuple(given), ()
  if count == 3:
    return RGB, () if coloured else ('channels: nothing names the three, so they are assumed to be R, G and B '
                                     '(data.channel_names names them)',)
  names = unnamed(count)
  span = names[0] if count == 1 else f'{names[0]} to {names[-1]}'
  return names, (f'channels: nothing names them, so they are called {span} (data.channel_names names them)',)


def check_different(names: Sequence[str], where: str) -> None:
  """Raises UserError where a name is empty or given twice."""
  if '' in names:
    raise UserError(f"{where}: an empty channel name among '{','.join(names)}'; expected {len(names)} names")
  twice = sorted({name for name in names if list(names).count(name) > 1})
  if twice:
    raise UserError(f"{where}: channel name '{twice[0]}' is given twice; expected {len(names)} different names")


@dataclasses.dataclass(frozen=True)
class Listing:
  """The channels that a channels.txt lists, one per line.

  Attributes:
    path: path of the file.
    names: names of the channels.
    units: unit of each channel, '' where none is given.
  """

  path: str
  names: tuple[str, ...]
  units: tuple[str, ...]


def listings(folders: Iterable[str], root: str, beyond: bool) -> dict[str, Listing | None]:
  """The nearest channels.txt of each folder, None where there is none.

  Args:
    folders: absolute paths of root or of folders below it.
    root: absolute path of the topmost folder to search.
    beyond: search above the root too, for the channels.txt of a dataset that the root is a part of.

  Raises:
    UserError: a channels.txt is not a text file or lists a name twice.
  """
  found: dict[str, Listing | None] = {}
  top = _listing_beyond(root) if beyond else None

  def nearest(folder: str) -> Listing | None:
    if folder not in found:
      own = read_channels_file(Path(folder, CHANNELS_FILE)) if os.path.isfile(f'{folder}/{CHANNELS_FILE}') else None
      inside = os.path.commonpath([root, folder]) == root and folder != root
      found[folder] = own or (nearest(os.path.dirname(folder)) if inside else top)
    return found[folder]

  return {folder: nearest(folder) for folder in folders}


def assign(count: int, known: Sequence[str], listed: Sequence[str], own: Sequence[str], color: Sequence[str],
           flagged: bool = False, training: Statement | None = None) -> tuple[tuple[str, ...], str]:
  """Decides the names of one image's channels.

  Args:
    count: number of channels of the image.
    known: names of the dataset's channels, in their order; in prediction, those of the training data.
    listed: names in the nearest channels.txt.
    own: names in the file itself.
    color: names by the kind of image, such as R, G, B.
    flagged: whether the configuration gave `known`: it then takes precedence over the names in training files, and over
      those in other files with the same names or none.
    training: the training files' names for the channels called `known`; None: in training itself, or not stored.

  Returns:
    The names, which need not be among the known ones, and a note on what was assumed.

  Raises:
    UserError: there are more channels than names, or the file calls a channel alpha that may be any other.
  """
  known, as_many = tuple(known), count == len(known)
  unmatched = ()
  if known == unnamed(len(known)):  # there are no names to match
    unmatched, own, color = tuple(own), (), ()
    listed = known[:count] if listed else ()
  stated = Statement.of(count, listed, own, color)
  if as_many and flagged and not stated.names:
    return known, ''
  if training is not None and stated.by == training.by == COLOUR and _opaque(stated) == _opaque(training):
    return (known if as_many else (*known[:len(_opaque(stated))], ALPHA)[:count]), ''
  named = _translated(stated, known, training)
  fits = bool(set(named) & set(known))
  taken = f'channels called {", ".join(stated.names)} were read as '
  if training is None and as_many and (flagged or stated.by == COLOUR):
    reason = 'by data.channel_names' if flagged else 'in order'
    return known, f'{taken}{", ".join(known)}, {reason}' if fits and named != known else ''
  if as_many and stated.by == COLOUR and ALPHA in stated.names and ALPHA not in known:
    raise UserError(f'the file calls its channels {", ".join(stated.names)}, and the last may be any of the '
                    f"data's {', '.join(known)}. --channels names them")
  if fits:
    translated = named != stated.names and not (training and training.by == stated.by)
    return named, f'{taken}{", ".join(named)}' if translated else ''
  if as_many and (not stated.names or (stated.by == OWN and (training is None or _counts(stated.names)))):
    names = stated.names or unmatched
    return known, f'channels called {", ".join(names)} were read as {", ".join(known)}, in order' if names else ''
  if stated.names:
    return named, ''
  first = listed or known
  if count > len(first):
    raise UserError(f'{count} channels without names; expected at most {len(first)}: {", ".join(first)}')
  return tuple(first[:count]), f'{FILLED}: {", ".join(first[:count])}'


def _opaque(stated: Statement) -> tuple[str, ...]:
  return tuple(name for name in stated.names if name != ALPHA)


def _counts(names: Sequence[str]) -> bool:
  """Whether names only count: Band 1, Band 2."""
  numbers = [int(found[1]) if (found := _NUMBER.fullmatch(name)) else -1 for name in names]
  return numbers in (list(range(len(names))), list(range(1, len(names) + 1)))


def _translated(stated: Statement, known: Sequence[str], training: Statement | None) -> tuple[str, ...]:
  """The stated names, each as the known name that training files used it for, or that means the same."""
  through = {}
  if training is not None and training.by == stated.by and len(training.names) == len(known):
    through = dict(zip(training.names, known, strict=True))
  return by_meaning([through.get(name, name) for name in stated.names], known)


def by_meaning(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
  """The names, each replaced by the known name that means the same: R and Red by red."""
  meant = [_meaning(name) for name in known]
  found = tuple(name if name in known or meant.count(_meaning(name)) != 1 else known[meant.index(_meaning(name))]
                for name in names)
  return found if len(set(found)) == len(found) else tuple(names)


def _meaning(name: str) -> str:
  name = name.casefold()
  return _COLOURS.get(name, name)


def unnamed(count: int) -> tuple[str, ...]:
  """The default names of `count` unnamed channels: c0, c1, ..."""
  return tuple(f'c{channel}' for channel in range(count))


def split_config_names(text: str) -> tuple[str, ...]:
  """Splits 'red,green,blue' of a configuration into names. (mils_jax.channels would load JAX in every process.)"""
  return tuple(part.strip() for part in text.split(',')) if text.strip() else ()


def read_text(path: str | Path) -> str:
  """Reads a text file; raises UserError where it is not UTF-8."""
  try:
    return Path(path).read_text(encoding='utf-8-sig')  # spreadsheets write a byte order mark
  except UnicodeDecodeError as error:
    raise UserError(f'{path}: is no UTF-8 text (byte {error.start}); expected plain lines') from error


def read_channels_file(path: Path) -> Listing | None:
  """Reads a file with one channel per line: its name and, after white space, its unit; None if the file is empty."""
  lines = [line.split(maxsplit=1) for line in read_text(path).splitlines() if line.strip()]
  names = tuple(line[0] for line in lines)
  check_different(names, str(path))
  return Listing(str(path), names, tuple(line[1].strip() if len(line) > 1 else '' for line in lines)) if names else None


def _listing_beyond(root: str) -> Listing | None:
  """The nearest channels.txt above a folder: in its parent folder, or anywhere up to the root of a dataset."""
  nearest: Path | None = None
  for place in Path(root).parents:
    nearest = nearest or (place / CHANNELS_FILE if (place / CHANNELS_FILE).is_file() else None)
    if (nearest and place == Path(root).parent) or _is_root(place):
      return read_channels_file(nearest) if nearest else None
  return None


def _is_root(folder: Path) -> bool:
  """Whether a folder holds a training split: it is then the root of a dataset, and its channels.txt applies to all."""
  try:
    return any(name.lower().removesuffix('.txt').removesuffix('.csv') in CALLED['train'] for name in os.listdir(folder))
  except OSError:  # not readable
    return False

"""Names and units of channels: the one rule by which training and prediction read them.

What names an image's channels, the nearest first: the configuration (or, in prediction, --channels), the nearest
channels.txt, the file itself, then what is known of the other images.
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
    count: how many channels the images have.
    given: the names, or nothing.
    where: where the names come from, for the error.
    coloured: whether the images are known to be pictures in colour.

  Returns:
    The names, and notes on what had to be assumed.

  Raises:
    UserError: a name is empty or given twice, or there is another number of names than of channels.
  """
  if given:
    if len(given) != count:
      raise UserError(f"{where}: {len(given)} channel names ({', '.join(given)}), but the images have {count} "
                      'channels')
    check_different(given, where)
    return tuple(given), ()
  if count == 3:
    return RGB, () if coloured else ('channels: nothing names the three, so they are taken for R, G and B '
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
  """The channels that a channels.txt lists, one a line.

  Attributes:
    path: of the file.
    names: of the channels.
    units: of each, '' where none is given.
  """

  path: str
  names: tuple[str, ...]
  units: tuple[str, ...]


def listings(folders: Iterable[str], root: str, beyond: bool) -> dict[str, Listing | None]:
  """The nearest channels.txt of each folder, None where there is none.

  Args:
    folders: absolute paths at or beneath root.
    root: absolute; up to where it is searched.
    beyond: search above the root too, for that of a set which the root is a part of.

  Raises:
    UserError: a channels.txt is no text or lists a name twice.
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
  """The names of one image's channels.

  Args:
    count: how many it has.
    known: names of the set's channels, in their order; in prediction, of the training data's.
    listed: what the nearest channels.txt lists.
    own: what the file says.
    color: by what kind of picture it is.
    flagged: whether the configuration gave `known`: it then comes before what the training files say, and before what
      others say that say the same or nothing.
    training: what the training files say of the channels that are called `known`; None: of training itself, or not
      kept.

  Returns:
    The names, which may be none of the known ones, and a note on what was assumed.

  Raises:
    UserError: there are more channels than anything names, or the file calls one alpha that may be any.
  """
  known, as_many = tuple(known), count == len(known)
  if known == unnamed(len(known)):  # nothing that a name could mean
    own = color = ()
    listed = known[:count] if listed else ()
  said = Statement.of(count, listed, own, color)
  if as_many and flagged and not said.names:
    return known, ''
  if training is not None and said.by == training.by == COLOUR and _opaque(said) == _opaque(training):
    return (known if as_many else (*known[:len(_opaque(said))], ALPHA)[:count]), ''
  named = _translated(said, known, training)
  fits = bool(set(named) & set(known))
  taken = f'channels called {", ".join(said.names)} were taken for '
  if training is None and as_many and (flagged or said.by == COLOUR):
    reason = 'as data.channel_names says' if flagged else 'in order'
    return known, f'{taken}{", ".join(known)}, {reason}' if fits and named != known else ''
  if as_many and said.by == COLOUR and ALPHA in said.names and ALPHA not in known:
    raise UserError(f'the file calls its channels {", ".join(said.names)}, and the last may be any of the '
                    f"data's {', '.join(known)}. --channels names them")
  if fits:
    translated = named != said.names and not (training and training.by == said.by)
    return named, f'{taken}{", ".join(named)}' if translated else ''
  if as_many and (not said.names or (said.by == OWN and (training is None or _counts(said.names)))):
    return known, f'{taken}{", ".join(known)}, in order' if said.names else ''
  if said.names:
    return named, ''
  first = listed or known
  if count > len(first):
    raise UserError(f'{count} channels without names; expected at most {len(first)}: {", ".join(first)}')
  return tuple(first[:count]), f'{FILLED}: {", ".join(first[:count])}'


def _opaque(said: Statement) -> tuple[str, ...]:
  return tuple(name for name in said.names if name != ALPHA)


def _counts(names: Sequence[str]) -> bool:
  """Whether names say no more than an order: Band 1, Band 2."""
  numbers = [int(found[1]) if (found := _NUMBER.fullmatch(name)) else -1 for name in names]
  return numbers in (list(range(len(names))), list(range(1, len(names) + 1)))


def _translated(said: Statement, known: Sequence[str], training: Statement | None) -> tuple[str, ...]:
  """What is said, each name as the known one that training files called so, or that means the same."""
  through = {}
  if training is not None and training.by == said.by and len(training.names) == len(known):
    through = dict(zip(training.names, known, strict=True))
  return by_meaning([through.get(name, name) for name in said.names], known)


def by_meaning(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
  """The names, each as the one known name that means the same: R and Red as red."""
  meant = [_meaning(name) for name in known]
  found = tuple(name if name in known or meant.count(_meaning(name)) != 1 else known[meant.index(_meaning(name))]
                for name in names)
  return found if len(set(found)) == len(found) else tuple(names)


def _meaning(name: str) -> str:
  name = name.casefold()
  return _COLOURS.get(name, name)


def unnamed(count: int) -> tuple[str, ...]:
  """What `count` channels are called that nothing names: c0, c1, ..."""
  return tuple(f'c{channel}' for channel in range(count))


def split_config_names(text: str) -> tuple[str, ...]:
  """Names from a config's 'red,green,blue'; nothing from ''. (mils_jax.channels would bring JAX to every process.)"""
  return tuple(part.strip() for part in text.split(',')) if text.strip() else ()


def read_text(path: str | Path) -> str:
  """A text file's text; raises UserError where it is not UTF-8."""
  try:
    return Path(path).read_text(encoding='utf-8-sig')  # spreadsheets begin theirs with a mark of the byte order
  except UnicodeDecodeError as error:
    raise UserError(f'{path}: is no UTF-8 text (byte {error.start}); expected plain lines') from error


def read_channels_file(path: Path) -> Listing | None:
  """Names and units from a file with one channel a line: its name and, after white space, its unit; None if empty."""
  lines = [line.split(maxsplit=1) for line in read_text(path).splitlines() if line.strip()]
  names = tuple(line[0] for line in lines)
  check_different(names, str(path))
  return Listing(str(path), names, tuple(line[1].strip() if len(line) > 1 else '' for line in lines)) if names else None


def _listing_beyond(root: str) -> Listing | None:
  """The nearest channels.txt above a folder: in the one that it lies in, or anywhere up to the root of a set."""
  nearest: Path | None = None
  for place in Path(root).parents:
    nearest = nearest or (place / CHANNELS_FILE if (place / CHANNELS_FILE).is_file() else None)
    if (nearest and place == Path(root).parent) or _is_root(place):
      return read_channels_file(nearest) if nearest else None
  return None


def _is_root(folder: Path) -> bool:
  """Whether a folder holds a training split, as the root of a set does, whose channels.txt counts for all its parts."""
  try:
    return any(name.lower().removesuffix('.txt').removesuffix('.csv') in CALLED['train'] for name in os.listdir(folder))
  except OSError:  # not ours to look into
    return False

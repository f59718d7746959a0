"""Names and units of channels, from the config, from a file, or assumed."""

from collections.abc import Sequence
from pathlib import Path

from mils_jax.errors import UserError


def name_channels(count: int, given: Sequence[str], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Decides the names of `count` channels.

  Args:
    count: how many channels the images have.
    given: the names, or nothing.
    where: where the names come from, for the error.

  Returns:
    The names, and notes on what had to be assumed.

  Raises:
    UserError: a name is empty or given twice, or there is another number of names than of channels.
  """
  if given:
    if len(given) != count:
      raise UserError(f"{where}: {len(given)} channel names ({', '.join(given)}), but the images have {count} "
                      'channels')
    if '' in given:
      raise UserError(f"{where}: an empty channel name among '{','.join(given)}'; expected {count} names")
    twice = sorted({name for name in given if list(given).count(name) > 1})
    if twice:
      raise UserError(f"{where}: channel name '{twice[0]}' is given twice; expected {count} different names")
    return tuple(given), ()
  if count == 3:
    return ('R', 'G', 'B'), ()
  names = unnamed(count)
  span = names[0] if count == 1 else f'{names[0]} to {names[-1]}'
  return names, (f'channels: nothing names them, so they are called {span} (data.channel_names names them)',)


def unnamed(count: int) -> tuple[str, ...]:
  """What `count` channels are called that nothing names: c0, c1, ..."""
  return tuple(f'c{channel}' for channel in range(count))


def split_config_names(text: str) -> tuple[str, ...]:
  """Names from a config's 'red,green,blue'; nothing from ''. (mils_jax.channels would bring JAX to every process.)"""
  return tuple(part.strip() for part in text.split(',')) if text.strip() else ()


def read_text(path: str | Path) -> str:
  """A text file's text; raises UserError where it is not UTF-8."""
  try:
    return Path(path).read_text(encoding='utf-8')
  except UnicodeDecodeError as error:
    raise UserError(f'{path}: is no UTF-8 text (byte {error.start}); expected plain lines') from error


def read_channels_file(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Names and units from a file with one channel a line: its name and, after white space, its unit."""
  lines = [line.split(maxsplit=1) for line in read_text(path).splitlines() if line.strip()]
  return tuple(line[0] for line in lines), tuple(line[1].strip() if len(line) > 1 else '' for line in lines)

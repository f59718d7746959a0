"""Names and presence of channels: which channel of the data goes to which input channel of a model.

A model's input channels have names. A named channel goes to the input channel of its name, whatever its position;
unnamed ones fill the first input channels (the report's rule). An input channel without input is missing, which is not
the same as zero.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.config import Section, option
from mils_jax.errors import UserError
from mils_jax.schema import upgraded


@dataclasses.dataclass(frozen=True)
class ChannelOptions(Section, section='channels'):
  """The model's input channels, and which of the data's channels a run uses."""

  names: str = option('', "comma-separated names of the model's input channels; empty: the data's")
  use: str = option('', "channels of the data given to the run, such as 'R,G', or RG for single letters; empty: all")


@dataclasses.dataclass(frozen=True)
class ChannelSpec:
  """What a model expects as input; part of every checkpoint, so that a restored model normalises its input itself.

  Attributes:
    names: name of each input channel.
    units: unit of each channel's values ('' where unknown).
    mean: mean that is subtracted from each channel's values, in their unit.
    std: standard deviation that they are then divided by, in their unit.
    low, high: smallest and largest value of the training data, both 0 where it has none; empty in checkpoints from
      before they were stored.
    fill: value of pixels without data: the training data's mean as stored, whatever the normalization; empty in
      checkpoints from before it was stored.
  """

  names: tuple[str, ...]
  units: tuple[str, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]
  low: tuple[float, ...] = ()
  high: tuple[float, ...] = ()
  fill: tuple[float, ...] = ()

  def to_json(self) -> dict:
    return {key: list(value) for key, value in dataclasses.asdict(self).items()}

  @classmethod
  def from_json(cls, values: dict) -> 'ChannelSpec':
    values = upgraded('channels', values)
    return cls(**{field.name: tuple(values[field.name]) for field in dataclasses.fields(cls) if field.name in values})

  def unusual(self, values: np.ndarray, present: np.ndarray) -> str:
    """Describes how an image's values differ suspiciously from the training data's; '' where they do not.

    Where the range of the training data is not known, the answer is '' too.

    Args:
      values: (H, W, C') in the data's units.
      present: (C',) bool.
    """
    known = present & (np.array(self.low) < np.array(self.high)) if self.low else np.zeros(len(self.names), bool)
    if not known.any():
      return ''
    low, high = np.array(self.low)[known], np.array(self.high)[known]
    least, most = values[..., known].min((0, 1)), values[..., known].max((0, 1))
    width = high - low
    span = f'({low.min():g} to {high.max():g})'
    if ((least < low - width / 2) | (most > high + width / 2)).any():
      return f'values lie far outside of those of the training data {span}: are they in the same units?'
    at_an_end = (most < low + width / 64) | (least > high - width / 64)
    if at_an_end.all() and (least < most).any():  # a constant image does not reveal its unit
      return f'all values lie at one end of those of the training data {span}: are they in the same units?'
    return ''

  def unlike(self, mean: np.ndarray, std: np.ndarray) -> str:
    """Describes how the values of many images together differ suspiciously from the training data's; '' otherwise.

    Values that are ten times too small still lie within the training range. So this checks whether every channel
    spreads five times less or more than in training, about another mean.

    Args:
      mean, std: (C',) mean and standard deviation of each channel's values, NaN where no image has the channel.
    """
    known = np.isfinite(mean) & np.isfinite(std)
    own_mean, own_std = np.array(self.mean)[known], np.array(self.std)[known]
    ratio, away = std[known] / own_std, np.abs(mean[known] - own_mean) / own_std
    if not known.any() or not (((ratio < 1 / 5) | (ratio > 5)) & (away > 1)).all():
      return ''
    return (f'values have the mean {mean[known].mean():.3g} and the spread {std[known].mean():.3g}, those of the '
            f'training data {own_mean.mean():.3g} and {own_std.mean():.3g}: are they in the same units?')

  def map_from(self, names: Sequence[str | None]) -> 'ChannelMapping':
    """How channels called `names` map to the input channels; a channel named None is left out.

    Raises:
      UserError: a name is given twice, or is no input channel's.
    """
    check_names([name for name in names if name is not None], 'channel', self.names)
    source = [list(names).index(channel) if channel in names else -1 for channel in self.names]
    return ChannelMapping(np.array(source), np.array(self.mean, np.float32), np.array(self.std, np.float32))


@dataclasses.dataclass(frozen=True)
class ChannelMapping:
  """Which channel of the data each of a model's C' input channels takes.

  Attributes:
    source: (C',) index of the channel among the given ones, -1 where it is missing.
    mean: (C',) float32, subtracted from the values.
    std: (C',) float32, divides the values afterwards.
  """

  source: np.ndarray
  mean: np.ndarray
  std: np.ndarray

  @property
  def present(self) -> np.ndarray:
    """(C',) bool: which input channels have a source."""
    return self.source >= 0

  def apply(self, images: jax.Array, given: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Normalises images and puts their channels where the model expects them.

    Args:
      images: (B, H, W, C) of any dtype, in the data's own order of channels.
      given: (B, C) bool, which channels each image has; None: all.

    Returns:
      (B, H, W, C') float32, zero in missing channels, and the presence mask (B, C').
    """
    taken = images[..., np.maximum(self.source, 0)].astype(jnp.float32)  # (B, H, W, C')
    mean, std = (values[None, None, None] for values in (self.mean, self.std))
    present = self.present_of(len(images), given)  # (B, C')
    placed = jnp.where(present[:, None, None], (taken - mean) / std, 0.0)
    return placed, present

  def present_of(self, count: int, given: jax.Array | np.ndarray | None = None) -> jax.Array:
    """(count, C') bool: which input channels each of the images has; `given` as in `apply`."""
    present = jnp.broadcast_to(self.present[None], (count, len(self.source)))
    return present if given is None else present & given[:, np.maximum(self.source, 0)]


def check_names(names: Sequence[str], kind: str, valid: Sequence[str]) -> None:
  """Raises UserError where a name is given twice or is not in `valid`."""
  for name in names:
    if name not in valid:
      raise UserError(f"unknown {kind} '{name}'. Valid: {', '.join(valid)}")
  twice = sorted({name for name in names if list(names).count(name) > 1})
  if twice:
    raise UserError(f"{kind} '{twice[0]}' is given twice. Valid: {', '.join(valid)}, each once")


def split_names(text: str, single_letters: bool = False) -> tuple[str, ...]:
  """Reads channel names from 'red,green', or, with `single_letters`, from one word such as 'RG'."""
  if ',' not in text and single_letters:
    return tuple(text.strip())
  return tuple(part.strip() for part in text.split(',')) if text.strip() else ()


def choose(text: str, available: Sequence[str], kind: str = 'channel') -> tuple[str, ...]:
  """The channels that `text` names among the `available` ones; all of them where it is empty.

  Raises:
    UserError: a name is unknown or given twice.
  """
  if not text.strip():
    return tuple(available)
  names = split_names(text, single_letters=all(len(name) == 1 for name in available))
  check_names(names, kind, available)
  return names

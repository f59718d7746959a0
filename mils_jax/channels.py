"""Names, subsets and presence of channels: which channel of the data goes to which input channel of a model.

A model's input channels have names. A named channel goes to the input channel of its name, whatever its position; unnamed channels
fill the first input channels (the report's rule). An input channel without input is missing, which is not the same as zero.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mils_jax.errors import UserError, unknown
from mils_jax.random_streams import sample_keys

DROPOUTS = ('none', 'independent', 'hierarchical')
DROPOUT_PER = ('sample', 'batch')


@dataclasses.dataclass(frozen=True)
class ChannelSpec:
  """What a model expects of its input; part of every checkpoint, so that a restored model normalises by itself.

  Attributes:
    names: of each input channel.
    units: unit of each channel's values ('' where unknown).
    mean: what is subtracted from each channel's values, in their unit.
    std: what they are divided by afterwards, in their unit.
  """

  names: tuple[str, ...]
  units: tuple[str, ...]
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def to_json(self) -> dict:
    return {key: list(value) for key, value in dataclasses.asdict(self).items()}

  @classmethod
  def from_json(cls, values: dict) -> 'ChannelSpec':
    return cls(**{field.name: tuple(values[field.name]) for field in dataclasses.fields(cls)})

  def place(self, names: Sequence[str | None]) -> 'ChannelMapping':
    """The mapping of channels called `names` into the input channels; a channel named None goes nowhere.

    Raises:
      UserError: a name is given twice, or is no channel's.
    """
    check_names([name for name in names if name is not None], 'channel', self.names)
    source = [list(names).index(channel) if channel in names else -1 for channel in self.names]
    return ChannelMapping(np.array(source), np.array(self.mean, np.float32), np.array(self.std, np.float32))


@dataclasses.dataclass(frozen=True)
class ChannelMapping:
  """Where each channel's values come from.

  Attributes:
    source: (in_channels,) position of the channel among the given ones, -1 where it is missing.
    mean: (in_channels,) float32.
    std: (in_channels,) float32.
  """

  source: np.ndarray
  mean: np.ndarray
  std: np.ndarray

  @property
  def present(self) -> np.ndarray:
    """(in_channels,) bool: which input channels have a channel."""
    return self.source >= 0

  def apply(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Normalises images and puts their channels into the in_channels.

    Args:
      images: (B, H, W, C) of any dtype, in the data's own order of channels.

    Returns:
      (B, H, W, in_channels) float32, zero in missing channels, and the presence mask (B, in_channels).
    """
    taken = images[..., np.maximum(self.source, 0)].astype(jnp.float32)  # (B, H, W, in_channels)
    placed = jnp.where(self.present, (taken - self.mean) / self.std, 0.0)
    return placed, jnp.broadcast_to(self.present, (images.shape[0], len(self.source)))


@dataclasses.dataclass(frozen=True)
class ChannelDropout:
  """Which of its channels a training sample keeps, so that one model learns to do without the others.

  Attributes:
    sampling: none: all of them; independent: each is dropped with probability `dropout_rate`, but never all; hierarchical:
      a number k, each of 1 to all as likely as the other, and then k of them ("Channel Vision Transformers", Bao et
      al., ICLR 2024).
    dropout_rate: of `independent`, in [0, 1).
    dropout_per: sample: every sample draws for itself; batch: all draw the same.

  Raises:
    UserError: a value is none that it can take.
  """

  sampling: str = 'none'
  dropout_rate: float = 0.5
  dropout_per: str = 'sample'

  def __post_init__(self):
    if self.sampling not in DROPOUTS:
      raise unknown('channels.dropout', self.sampling, DROPOUTS)
    if self.dropout_per not in DROPOUT_PER:
      raise unknown('channels.dropout_per', self.dropout_per, DROPOUT_PER)
    if not 0 <= self.dropout_rate < 1:
      raise UserError(f'channels.dropout_rate={self.dropout_rate}: must be at least 0 and below 1')

  def __call__(self, key: jax.Array, present: jax.Array, positions: jax.Array) -> jax.Array:
    """The channels that are kept.

    Args:
      key: of the step.
      present: (B, C) bool, which channels the samples have, at least one each.
      positions: (B,) of the samples in the batch of all devices.

    Returns:
      (B, C) bool, at least one of `present` in each row, none that is not.
    """
    if self.sampling == 'none':
      return present
    keys = sample_keys(key, positions if self.dropout_per == 'sample' else jnp.zeros_like(positions))
    draw = _draw_independent if self.sampling == 'independent' else _draw_hierarchical
    return jax.vmap(lambda key, row: draw(key, row, self.dropout_rate))(keys, present)


def _draw_independent(key: jax.Array, present: jax.Array, dropout_rate: float) -> jax.Array:
  """(C,) bool; where all were dropped, the one that came nearest to being kept stays."""
  chance = jnp.where(present, jax.random.uniform(key, present.shape), -1.0)
  return present & ((chance >= dropout_rate) | (jnp.arange(len(present)) == chance.argmax()))


def _draw_hierarchical(key: jax.Array, present: jax.Array, _: float) -> jax.Array:
  """(C,) bool."""
  number_key, order_key = jax.random.split(key)
  number = jax.random.randint(number_key, (), 1, jnp.maximum(present.sum(), 1) + 1)
  chance = jnp.where(present, jax.random.uniform(order_key, present.shape), 2.0)
  return present & (chance.argsort().argsort() < number)  # the first `number` in a random order


def check_names(names: Sequence[str], kind: str, valid: Sequence[str]) -> None:
  """Raises UserError where a name is empty, twice there, or none of `valid`."""
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

"""Channel dropout: training samples that lack some of their channels, so that one model serves any subset of them."""

import dataclasses

import jax
import jax.numpy as jnp

from mils_jax.config import Section, option
from mils_jax.errors import UserError
from mils_jax.random_streams import sample_keys

Masks = tuple[tuple[bool, ...], ...]  # which of the channels are in each subset


@dataclasses.dataclass(frozen=True)
class ChannelDropout(Section, section='channel_dropout'):
  """Which channels a training sample keeps, so that one model learns to work without the others.

  Hierarchical dropout draws a number k uniformly from 1 to all, and then k of the channels ("Channel Vision
  Transformers", Bao et al., ICLR 2024, https://arxiv.org/abs/2309.16108, section 3.2); independent dropout drops each
  channel by itself, but never all. Where subsets are named, half of the samples keep one of these instead.
  """

  method: str = option('none', 'how channels are dropped from training samples; none: all are kept',
                       choices=('none', 'independent', 'hierarchical'))
  rate: float = option(0.5, 'probability of dropping each channel (independent)', low=0, below=1)
  per: str = option('sample', 'whether each sample or each batch draws its own channels', choices=('sample', 'batch'))
  subsets: str = option('', "channel subsets that half of the samples keep, such as 'red,green,blue; nir'; empty: none")
  full_view: bool = option(False, 'train on every sample twice per step: with all and with the kept channels')
  distillation: float = option(0.0, "share of the full view's prediction in the target of the dropped view; needs "
                               'full_view', low=0, high=1)

  def __post_init__(self):
    super().__post_init__()
    if self.method == 'none' and (self.full_view or self.distillation or self.subsets):
      raise UserError('channel_dropout.full_view, distillation and subsets need channel dropout: '
                      'channel_dropout.method=independent or hierarchical')
    if self.distillation and not self.full_view:
      raise UserError(f'channel_dropout.distillation={self.distillation}: learns from the view with all channels; '
                      'needs channel_dropout.full_view=true')

  def __call__(self, key: jax.Array, present: jax.Array, positions: jax.Array, subsets: Masks = ()) -> jax.Array:
    """Draws the channels that each sample keeps.

    Args:
      key: random key of the step.
      present: (B, C) bool, which channels the samples have, at least one each.
      positions: (B,) global indices of the samples in the batch of all devices.
      subsets: those of the field `subsets`, as masks of the C channels.

    Returns:
      (B, C) bool, at least one of the present channels in each row, and no missing one.
    """
    if self.method == 'none':
      return present
    keys = sample_keys(key, positions if self.per == 'sample' else jnp.zeros_like(positions))
    draw = _draw_independent if self.method == 'independent' else _draw_hierarchical
    if not subsets:
      return jax.vmap(lambda key, row: draw(key, row, self.rate))(keys, present)
    masks = jnp.array(subsets)  # (S, C)

    def draw_either(key: jax.Array, row: jax.Array) -> jax.Array:
      number_key, own_key = jax.random.split(key)
      number = jax.random.randint(number_key, (), 0, 2 * len(masks))
      named = row & masks[number % len(masks)]
      return jnp.where((number < len(masks)) & named.any(), named, draw(own_key, row, self.rate))  # or none

    return jax.vmap(draw_either)(keys, present)


def _draw_independent(key: jax.Array, present: jax.Array, rate: float) -> jax.Array:
  """Draws (C,) bool; where all were dropped, the channel with the highest draw stays."""
  chance = jnp.where(present, jax.random.uniform(key, present.shape), -1.0)
  return present & ((chance >= rate) | (jnp.arange(len(present)) == chance.argmax()))


def _draw_hierarchical(key: jax.Array, present: jax.Array, _: float) -> jax.Array:
  """Draws (C,) bool: first how many channels are kept, then which."""
  number_key, order_key = jax.random.split(key)
  number = jax.random.randint(number_key, (), 1, jnp.maximum(present.sum(), 1) + 1)
  chance = jnp.where(present, jax.random.uniform(order_key, present.shape), 2.0)
  return present & (chance.argsort().argsort() < number)  # the first `number` in a random order

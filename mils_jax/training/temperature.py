"""Schedules for the temperature of the kernel attention."""

import dataclasses

import optax

from mils_jax.config import Section, option


@dataclasses.dataclass(frozen=True)
class AttentionOptions(Section, section='attention'):
  """How the temperature of the attention's softmax reaches model.temperature, for networks with kernel attention.

  "Dynamic Convolution: Attention over Convolution Kernels" (Chen et al., CVPR 2020, https://arxiv.org/abs/1912.03458)
  takes it from 30 to 1 over the first ten epochs, so that all kernels learn early on.
  """

  annealing: str = option('constant', 'temperature schedule from attention.start to model.temperature; constant: '
                          'always the latter', choices=('constant', 'linear', 'cosine'))
  start: float = option(30.0, 'initial temperature when annealing', above=0)
  epochs: float = option(10.0, 'epochs of temperature annealing, from the start of training', above=0)

  def schedule(self, final: float, steps_per_epoch: int) -> optax.Schedule:
    """The temperature by step."""
    if self.annealing == 'constant':
      return optax.constant_schedule(final)
    steps = max(round(min(self.epochs * steps_per_epoch, 2.0**30)), 1)  # optax counts in 32 bits
    if self.annealing == 'linear':
      return optax.linear_schedule(self.start, final, steps)
    descent = optax.cosine_decay_schedule(1.0, steps)
    return lambda step: final + (self.start - final) * descent(step)

"""Optimizers and learning rate schedules, built with optax."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from mils_jax.config import Section, option
from mils_jax.errors import UserError, unknown


@dataclasses.dataclass(frozen=True)
class OptimizerOptions(Section, section='optimizer'):
  """The optimizer, and the learning rate schedule: linear warm-up, then a half cosine to 0."""

  name: str = option('sgd', 'optimizer; muon: AdamW with orthogonalized updates of convolution kernels',
                     choices=('sgd', 'adamw', 'muon'))
  learning_rate: float = option(0.1, 'peak learning rate; a cosine takes it to 0', low=0)
  momentum: float = option(0.9, 'momentum of sgd and muon, beta1 of adamw', low=0, below=1)
  nesterov: bool = option(False, 'Nesterov momentum, sgd only')
  weight_decay: float = option(5e-4, 'weight decay coefficient', low=0)
  decay_all: bool = option(False, 'apply weight decay to scales and biases too, as in the report')
  warmup_epochs: float = option(0.5, 'epochs of linear warm-up; may be a fraction', low=0)
  warmup_limit: float = option(0.05, 'largest fraction of train.steps spent on warm-up', above=0, high=1, before=1.0)
  clip_norm: float = option(0.0, 'maximum global norm of the gradient; 0: no clipping', low=0)
  stepped_per_epoch: bool = option(False, 'hold the learning rate constant within an epoch, as in the report')
  freeze: str = option('', "prefixes of modules with frozen parameters and statistics, such as 'stem,stage1'")

  def __post_init__(self):
    super().__post_init__()
    if self.nesterov and (self.name != 'sgd' or not self.momentum):
      raise UserError(f'optimizer.nesterov is of sgd with momentum; here optimizer.name={self.name}, '
                      f'momentum={self.momentum}')

  def schedule(self, epochs: int, steps_per_epoch: int, by_steps: bool = False) -> optax.Schedule:
    """The learning rate by step ("SGDR", Loshchilov & Hutter, ICLR 2017, https://arxiv.org/abs/1608.03983).

    The warm-up changes every step even where the cosine is held per epoch: else the first epoch would run at rate 0.

    Args:
      epochs: number of epochs of the run.
      steps_per_epoch: number of steps in an epoch of the training split.
      by_steps: whether the length of the run is given in steps.

    Raises:
      UserError: the warm-up takes the whole run.
    """
    if self.warmup_epochs >= epochs and (not by_steps or self.warmup_limit == 1):
      raise UserError(f'optimizer.warmup_epochs={self.warmup_epochs}: must be below train.epochs={epochs}')
    warmup = round(self.warmup_epochs * steps_per_epoch)
    steps = epochs * steps_per_epoch
    warmup = min(warmup, steps - 1, int(steps * self.warmup_limit) if by_steps else steps)
    by_step = optax.warmup_cosine_decay_schedule(0.0 if warmup else self.learning_rate, self.learning_rate, warmup,
                                                 steps)
    if not self.stepped_per_epoch:
      return by_step

    def by_epoch(step: Any) -> jax.typing.ArrayLike:
      epoch_start = step // steps_per_epoch * steps_per_epoch
      return by_step(jnp.where(step < warmup, step, jnp.maximum(epoch_start, warmup)))

    return by_epoch

  @property
  def frozen(self) -> tuple[str, ...]:
    """Name prefixes of the frozen modules."""
    return tuple(filter(None, map(str.strip, self.freeze.split(','))))

  def create(self, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer with a learning rate schedule."""
    mask = None if self.decay_all else is_kernel
    if self.name == 'adamw':
      optimizer = optax.adamw(schedule, b1=self.momentum, weight_decay=self.weight_decay, mask=mask)
    elif self.name == 'muon':  # consistent_rms: steps as long as AdamW's, so that its learning rates serve here too
      directions = optax.contrib.muon(1.0, beta=self.momentum, consistent_rms=0.2,
                                      muon_weight_dimension_numbers=matrices_of_kernels)
      optimizer = optax.chain(directions, optax.add_decayed_weights(-self.weight_decay, mask),  # Adam's too
                              optax.scale_by_schedule(schedule))
    else:
      optimizer = optax.chain(optax.add_decayed_weights(self.weight_decay, mask),
                              optax.sgd(schedule, self.momentum or None, self.nesterov))
    if self.clip_norm:
      optimizer = optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)
    if self.frozen:
      optimizer = optax.multi_transform({True: optax.set_to_zero(), False: optimizer}, self._is_frozen)
    return optimizer

  def _is_frozen(self, params: dict) -> dict:
    return {name: jax.tree.map(lambda _: name.startswith(self.frozen), module)  # noqa: B023 (called at once)
            for name, module in params.items()}

  def check_frozen(self, trained: Iterable[str], with_statistics: Iterable[str] = ()) -> None:
    """Raises UserError where a prefix to freeze matches no module, or nothing would be trained.

    Args:
      trained: the modules with parameters.
      with_statistics: the modules with batch statistics.
    """
    trained = list(trained)
    modules = list(dict.fromkeys([*trained, *with_statistics]))
    for name in self.frozen:
      if not any(module.startswith(name) for module in modules):
        raise unknown('module in optimizer.freeze', name, modules)
    if self.frozen and all(module.startswith(self.frozen) for module in trained):
      raise UserError(f'optimizer.freeze={self.freeze}: freezes every module, so nothing would be trained')


def matrices_of_kernels(params: Any) -> Any:
  """How Muon treats a convolution's kernel as a matrix from all inputs to the outputs; K kernels are K matrices.

  It is None for all other parameters, which Adam trains ("Muon", Jordan et al., 2024,
  https://kellerjordan.github.io/posts/muon/).
  """
  def of(path: tuple, value: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
    if value.ndim < 4 or path[0].key == 'statistics':  # the classifier by statistics treats the channels one by one
      return None
    first = 1 if value.ndim == 5 else 0
    return optax.contrib.MuonDimensionNumbers(tuple(range(first, value.ndim - 1)), value.ndim - 1)

  return jax.tree_util.tree_map_with_path(of, params)


def is_kernel(params: Any) -> Any:
  """True for kernels, False for scales, biases and all other parameters."""
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in ('kernel', 'kernels'), params)

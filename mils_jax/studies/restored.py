"""A run folder as a usable model, without opening its data."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from mils_jax import build
from mils_jax.errors import UserError
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.record import Contract
from mils_jax.training.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Restored:
  """A trained model.

  Attributes:
    config: of its run.
    model: the network.
    variables: all that its apply takes, on the host, from the best checkpoint.
    contract: what it expects and says.
    step: after which these variables were saved.
  """

  config: ConfigDict
  model: nn.Module
  variables: dict
  contract: Contract
  step: int


def restore(folder: RunFolder, config: ConfigDict | None = None) -> Restored:
  """Restores a run's best checkpoint by validation accuracy.

  Args:
    folder: of the run.
    config: the run's own, or one that differs in what changes no result or in its data; None: its own.

  Raises:
    UserError: this is no run folder or another configuration's, or it has no checkpoint yet.
    RunError: the checkpoint is damaged.
  """
  own = folder.read_config()
  if config is None:
    config = ConfigDict(own).lock()
  folder.check(config.to_dict(), free=('data',))
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    step = checkpoints.best_step
    if step is None:
      raise UserError(f'{folder.path} has no checkpoint yet: let its first epoch finish')
    contract = checkpoints.restore_contract()
    model = build.build_model(config, len(contract.channels.slots), len(contract.classes), contract.image_size)
    # The model says what its own collections must be; what training keeps beside them is taken as it was saved.
    variables = checkpoints.restore_best(like={**checkpoints.best_structure(), **_structure(model, contract)})
  return Restored(config, model, variables, contract, step)


def _structure(model: nn.Module, contract: Contract) -> dict:
  images = jnp.zeros((1, *contract.image_size, len(contract.channels.slots)))
  return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))

"""What a configuration costs, before any training: parameters, multiply-adds and XLA's own counts."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mils_jax import build
from mils_jax.channels import split_names
from mils_jax.data.augment import Augmentation
from mils_jax.devices import AXIS, Devices
from mils_jax.evaluation.cost import (
    CONVENTIONS,
    CompiledCost,
    as_defined,
    compiled_cost,
    count_multiply_adds,
    count_parameters,
)
from mils_jax.progress import say
from mils_jax.training.optimizer import cosine_schedule, create_optimizer
from mils_jax.training.state import create_state
from mils_jax.training.steps import make_train_step


@dataclasses.dataclass(frozen=True)
class FormulationCost:
  """One way to compute the network.

  Attributes:
    formulation: 'parallel' or 'mixed'; '' for a network without dynamic convolutions.
    macs: multiply-adds per picture, by block.
    inference: XLA's count of classifying one picture.
    training: XLA's count of a training step on one picture.
  """

  formulation: str
  macs: dict[str, int]
  inference: CompiledCost
  training: CompiledCost


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a configuration costs.

  Attributes:
    model: name of the network.
    image_shape: (H, W, slots).
    parameters: by block.
    formulations: one for each way to compute it.
  """

  model: str
  image_shape: tuple[int, int, int]
  parameters: dict[str, int]
  formulations: list[FormulationCost]

  def to_json(self) -> dict:
    """All figures by block, their totals, and how they are counted."""
    totals = {part.formulation or self.model: sum(part.macs.values()) for part in self.formulations}
    return {**dataclasses.asdict(self), 'total_parameters': sum(self.parameters.values()), 'total_macs': totals,
            'total_flops': {name: 2 * macs for name, macs in totals.items()}, 'conventions': CONVENTIONS}


def measure_cost(config: ConfigDict) -> Cost:
  """Counts the configured network. Touches no data where the configuration states classes, slots and picture size."""
  build.check_values(config)
  slots, classes = split_names(config.channels.slots), config.model.num_classes
  size = (config.data.image_size,) * 2
  if not (slots and classes and config.data.image_size):
    data = build.open_data(config)
    slots, classes, size = build.slot_names(config, data.channels), classes or len(data.classes), data.image_shape[:2]
  model = build.build_model(config, len(slots), classes, size)
  networks = {'': model}
  if hasattr(model, 'formulation'):
    networks = {name: model.clone(formulation=name) for name in ('parallel', 'mixed')}
  shape = (*size, len(slots))
  variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False))
  formulations = []
  for name, network in networks.items():
    say(f'compiling {type(model).__name__}{name and " " + name}: inference and training step, batch 1')
    formulations.append(_formulation_cost(config, name, network, shape, variables))
  return Cost(config.model.name, shape, count_parameters(variables['params']), formulations)


def _formulation_cost(config: ConfigDict, name: str, model: nn.Module, shape: tuple[int, int, int],
                      variables: dict) -> FormulationCost:
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  return FormulationCost(name, count_multiply_adds(partial(as_defined(model).apply, train=False), variables, images),
                         compiled_cost(partial(model.apply, train=False), variables, images),
                         _training_cost(config, model, shape))


def _training_cost(config: ConfigDict, model: nn.Module, shape: tuple[int, int, int]) -> CompiledCost:
  """The step as it is trained, for one picture on one device."""
  options = config.optimizer
  schedule = cosine_schedule(options.learning_rate, config.train.epochs, options.warmup_epochs, 1,
                             options.stepped_per_epoch)
  optimizer = create_optimizer(options.name, schedule, options.momentum, options.weight_decay, options.decay_all)
  slots = shape[-1]
  placement = build.Placement(np.arange(slots), np.zeros(slots, np.float32), np.ones(slots, np.float32))
  step = make_train_step(model, optimizer, placement, Augmentation(**config.augment), axis=AXIS,
                         label_smoothing=config.train.label_smoothing, seed=config.train.seed, steps_per_epoch=1)
  state = jax.eval_shape(lambda: create_state(model, optimizer, shape, seed=0))
  batch = {'image': jax.ShapeDtypeStruct((1, *shape), jnp.uint8), 'label': jax.ShapeDtypeStruct((1,), jnp.int32),
           'weight': jax.ShapeDtypeStruct((1,), jnp.float32)}
  mapped = jax.shard_map(step, mesh=Devices(1).mesh, in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
                         out_specs=PartitionSpec(), check_vma=False)
  return compiled_cost(mapped, state, batch)

"""Counts the cost of a configuration, before any training: parameters, multiply-adds and, compiled, XLA's counts."""

import dataclasses
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import PartitionSpec

from mils_jax import build, invocation
from mils_jax.channel_subsets import read_subsets, subset_masks
from mils_jax.channels import ChannelMapping, split_names
from mils_jax.commands import Request
from mils_jax.data.cache.dataset import CachedDataset
from mils_jax.distributed.devices import AXIS, Devices
from mils_jax.models.flops import (
  CONVENTIONS,
  CompiledCost,
  as_defined,
  compiled_cost,
  count_multiply_adds,
  count_parameters,
)
from mils_jax.models.variables import abstract_variables
from mils_jax.progress import log, log_lines
from mils_jax.report.text import grouped, table_lines
from mils_jax.run_config import RunConfig, check_owner, claim
from mils_jax.training.class_weights import class_weights
from mils_jax.training.run_folder import write_json
from mils_jax.training.state import state_creator
from mils_jax.training.train_step import make_train_step


@dataclasses.dataclass(frozen=True)
class MixCost:
  """One way to compute the network.

  Attributes:
    mix: 'outputs' or 'kernels'; '' for a network without dynamic convolutions.
    macs: multiply-adds per image, by block.
    inference: XLA's count of classifying one image; None where nothing was compiled.
    training: XLA's count of a training step on one image; None where nothing was compiled.
  """

  mix: str
  macs: dict[str, int]
  inference: CompiledCost | None = None
  training: CompiledCost | None = None


@dataclasses.dataclass(frozen=True)
class Cost:
  """The cost of a configuration.

  Attributes:
    model: name of the network.
    image_shape: (H, W, input_channels).
    parameters: number of parameters by block.
    mixes: one entry for each way to compute it.
  """

  model: str
  image_shape: tuple[int, int, int]
  parameters: dict[str, int]
  mixes: list[MixCost]

  def to_json(self) -> dict:
    """All counts by block, their totals, and how they are counted."""
    totals = {part.mix or self.model: sum(part.macs.values()) for part in self.mixes}
    return {**dataclasses.asdict(self), 'total_parameters': sum(self.parameters.values()), 'total_macs': totals,
            'total_flops': {name: 2 * macs for name, macs in totals.items()}, 'conventions': CONVENTIONS}


def measure_cost(config: RunConfig, compiled: bool = False) -> Cost:
  """Counts the configured network; opens the data only where classes, input channels or image size are not configured.

  Args:
    config: configuration of the run.
    compiled: whether to compile it, for XLA's counts.
  """
  names, classes = split_names(config.channels.names), config.model.num_classes
  size, data = (config.data.image_size, config.data.image_size), None
  if not (names and classes and config.data.image_size):
    data = build.open_data(config)
    names, classes = build.input_channels(config, data.channels), classes or len(data.classes)
    size = data.image_shape[:2]
  model = build.build_model(config.model, config.train.precision, jax.default_backend(), len(names), classes, size)
  networks = {'': model}
  if hasattr(model, 'mix'):
    networks = {name: model.clone(mix=name) for name in ('outputs', 'kernels')}
  shape = (*size, len(names))
  variables = abstract_variables(model, size)
  mixes = []
  for name, network in networks.items():
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    macs = count_multiply_adds(partial(as_defined(network).apply, train=False), variables, images)
    if compiled:
      log(f'compiling {type(model).__name__}{name and " mixing " + name}: inference and training step, batch 1')
      inference = compiled_cost(partial(network.apply, train=False), variables, images)
      mixes.append(MixCost(name, macs, inference, _training_cost(config, network, shape, names, data)))
    else:
      mixes.append(MixCost(name, macs))
  return Cost(config.model.name, shape, count_parameters(variables['params']), mixes)


def _training_cost(config: RunConfig, model: nn.Module, shape: tuple[int, int, int], names: Sequence[str],
                   data: CachedDataset | None) -> CompiledCost:
  """The cost of a training step for one image on one device, with XLA's default options.

  Where the data is not open, the cost is that of bytes without missing channels and of equal class weights.
  """
  channels = shape[-1]
  mapping = ChannelMapping(np.arange(channels), np.zeros(channels, np.float32), np.ones(channels, np.float32))
  config = dataclasses.replace(config, train=dataclasses.replace(config.train, accumulation=1))  # XLA counts loops once
  subsets = subset_masks(read_subsets(config.channel_dropout.subsets, names), names)
  batch = {'image': jax.ShapeDtypeStruct((1, *shape), jnp.uint8), 'label': jax.ShapeDtypeStruct((1,), jnp.int32),
           'mask': jax.ShapeDtypeStruct((1,), jnp.float32)}
  weights: tuple[float, ...] = ()
  if data:
    train = data.splits['train']
    weights = class_weights(config.train.class_weights, data.classes, np.asarray(train.labels), model.num_classes)
    batch['image'] = jax.ShapeDtypeStruct((1, *shape), train.images.dtype)
    if train.present is not None:
      batch['present'] = jax.ShapeDtypeStruct((1, channels), jnp.bool_)
  plan, _ = build.step_plan(config, model, mapping, steps_per_epoch=1, weights=weights, subsets=subsets)
  state = jax.eval_shape(state_creator(plan, shape))
  mapped = jax.shard_map(make_train_step(plan, AXIS), mesh=Devices(1).mesh,
                         in_specs=(PartitionSpec(), PartitionSpec(AXIS)), out_specs=PartitionSpec(), check_vma=False)
  return compiled_cost(mapped, state, batch)


def run(request: Request) -> None:
  """Counts the configured network, prints the counts and keeps them in cost.json."""
  check_owner(request.folder, request.config)
  cost = measure_cost(request.config, request.flags['xla'])
  claim(request.folder, request.config)
  path = request.folder.path / 'cost.json'
  write_json(path, cost.to_json())
  log_lines([*cost_lines(cost), '', f'saved as {path}'])
  if not request.flags['xla']:
    log_lines(invocation.next_lines("XLA's own counts, which takes a minute or two on a CPU", 'cost',
                                    workdir=request.folder.path, xla=True))


def cost_lines(cost: Cost) -> list[str]:
  """A table by block, then the totals of each way to compute the network."""
  macs = cost.mixes[0].macs  # in the order of the computation; blocks without MACs come last
  rows = [[block, grouped(cost.parameters.get(block, 0)), *(grouped(part.macs.get(block, 0)) for part in cost.mixes)]
          for block in sorted({*macs, *cost.parameters}, key=lambda block: [*macs, block].index(block))]
  rows.append(['total', grouped(sum(cost.parameters.values())),
               *(grouped(sum(part.macs.values())) for part in cost.mixes)])
  columns = ['block', 'parameters', *(f'MACs, mix {part.mix}' if part.mix else 'MACs' for part in cost.mixes)]
  lines = [f'{cost.model} at {"x".join(map(str, cost.image_shape))}, one image', '', *table_lines(columns, rows)]
  for part in cost.mixes:
    total = sum(part.macs.values())
    lines += ['', f'mix {part.mix}:' if part.mix else f'{cost.model}:',
              f'  MACs {grouped(total)}, FLOPs (2 x MACs) {grouped(2 * total)}']
    lines += [f'  XLA, {name}: {grouped(count.flops)} FLOPs, {grouped(count.bytes_accessed)} bytes'
              for name, count in (('inference', part.inference), ('training step', part.training)) if count]
  return [*lines, '', CONVENTIONS]

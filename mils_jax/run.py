"""A whole run: trained or resumed, tested once, and its results written."""

import contextlib
import json
import platform
import sys
import time
from functools import partial
from importlib import metadata

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax import __version__, build
from mils_jax.data.cache.dataset import CachedDataset
from mils_jax.distributed import processes
from mils_jax.errors import DamagedError, RunError, UserError
from mils_jax.models.flops import as_defined, count_multiply_adds, count_parameters
from mils_jax.models.variables import abstract_variables
from mils_jax.progress import log
from mils_jax.run_config import RunConfig, as_it_was, check_owner, claim, saved_config
from mils_jax.schema import FREE
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.plan import TrainingPlan
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder, write_json
from mils_jax.training.signals import StopSignals
from mils_jax.training.trainer import Outcome, train


def run_training(config: RunConfig, folder: RunFolder, command: list[str]) -> dict:
  """Trains to the end unless the run is already finished, and returns the results.

  Args:
    config: configuration of the run.
    folder: the run folder; it need not exist yet.
    command: command line that started it, for the record.

  Raises:
    UserError: the configuration does not fit, or another process trains in this folder.
    RunError: the run failed; the message names what was kept.
    Stopped: a signal arrived.
  """
  config = as_it_was(config, folder)
  with StopSignals() as stop:
    results = earlier_results(config, folder)
    if results is not None:
      log(f'{folder.path} is finished; this is its result. Another --workdir or other settings train anew.')
      return results
    plan = build.build_plan(config, folder)  # before the folder is created: a wrong configuration must not claim it
    _check_as_first(config, plan)
    with folder.locked() if processes.is_first() else contextlib.nullcontext():
      processes.value_of_first('claim', lambda: claim(folder, config, lambda: _was_trained_on(folder, plan.data)))
      try:
        return _train_and_test(config, plan, command, stop)
      except OSError as error:
        raise RunError(f'{folder.path}: {error.strerror or error}. The last good checkpoint is kept in '
                       f'{folder.checkpoints}; run the same command to resume from it') from error


def earlier_results(config: RunConfig, folder: RunFolder) -> dict | None:
  """The results of the run where it is finished, else None. Every process calls this.

  Raises:
    UserError: the folder belongs to another run.
    RunError: on the other processes, where the first one raised UserError.
  """
  config = as_it_was(config, folder)
  results, moved = processes.value_of_first('results', lambda: _finished(config, folder))
  if moved:
    same = build.open_data(config).content == results.get('data_content')  # all processes open it together
    processes.value_of_first('owner', lambda: check_owner(folder, config, same_data=lambda: same))
  return results


def _finished(config: RunConfig, folder: RunFolder) -> tuple[dict | None, bool]:
  """The results of a finished run, and whether its data, which was moved or is read differently, must be compared."""
  results = folder.read_results() if folder.config.exists() else None
  check_owner(folder, config, same_data=lambda: True)  # for an unfinished run, `claim` compares the data
  return results, results is not None and saved_config(folder).data != config.data


def _was_trained_on(folder: RunFolder, data: CachedDataset) -> bool:
  """Whether the folder's latest checkpoint is of a run on exactly this data."""
  if not folder.checkpoints.is_dir():
    return False
  with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
    step = checkpoints.latest_step
    with contextlib.suppress(DamagedError):  # restoring it reports the damage
      return step is not None and checkpoints.spec_of_latest(step).data_content == data.content
  return False


def _check_as_first(config: RunConfig, plan: TrainingPlan) -> None:
  """Raises UserError where this process was given another configuration or other data than the first one."""
  own = {'configuration': {key: value for key, value in config.values().items() if key not in (*FREE, 'data')},
         'data.normalization': config.data.normalization,
         'data': plan.data.content}
  own = json.loads(json.dumps(own))  # tuples become lists
  first = processes.value_of_first('run', lambda: own)
  for what, value in own.items():
    if value != first[what]:
      raise UserError(f'process {processes.index()} has another {what} than the first; expected the same on all')


def _train_and_test(config: RunConfig, plan: TrainingPlan, command: list[str], stop: StopSignals) -> dict:
  folder = plan.folder
  log(f'training {type(plan.step.model).__name__} on {config.data.source}: '
      + ', '.join(f'{len(split.labels)} {name}' for name, split in plan.data.splits.items())
      + f' images of {"x".join(map(str, plan.data.image_shape[:2]))}, channels '
      + ', '.join(build.used_channels(config, plan.data))
      + (f', on {plan.devices.count} devices of {processes.count()} processes' if processes.count() > 1 else ''))
  without = [name for name in plan.data.channels if name not in plan.spec.channels.names]
  if without:
    log(f'channels that the model does not have are left out: {", ".join(without)}')
  started = time.perf_counter()
  outcome = train(plan, stop)
  results = summarise(config, plan.data, plan.step.model, plan.spec, outcome)
  if not processes.is_first():
    return results
  folder.forget_findings()  # findings about an earlier best checkpoint, if there are any
  outcome.test.save(folder.predictions)
  write_json(folder.run, describe_machine(command, time.perf_counter() - started))
  write_json(folder.results, results)
  return results


def summarise(config: RunConfig, data: CachedDataset, model: nn.Module, spec: ModelSpec, outcome: Outcome) -> dict:
  """The contents of results.json: only what state and data determine."""
  return {
      'name': config.name,
      'model': config.model.name,
      'channels': list(build.used_channels(config, data)),
      'input_channels': list(spec.channels.names),
      'classes': list(data.classes),
      'epochs': outcome.epochs,
      'best_epoch': outcome.best_epoch,
      'validation': outcome.validation.scores.to_json(),
      'test': outcome.test.scores.to_json(),
      'image_shape': list(data.image_shape),
      **model_size(model, spec.image_size),
      'data_fingerprint': data.fingerprint,
      'data_content': data.content,
  }


def model_size(model: nn.Module, image_size: tuple[int, int]) -> dict:
  """Parameters, and multiply-adds of one image with mix outputs (all K kernels), as the report counts them."""
  images = jax.ShapeDtypeStruct((1, *image_size, model.in_channels), jnp.float32)
  variables = abstract_variables(model, image_size)
  reported = as_defined(model.clone(mix='outputs') if hasattr(model, 'mix') else model)
  macs = sum(count_multiply_adds(partial(reported.apply, train=False), variables, images).values())
  parameters = sum(count_parameters(variables['params']).values())
  return {'parameters': parameters, 'macs': macs, 'flops': 2 * macs}


def describe_machine(command: list[str], seconds: float) -> dict:
  """The contents of run.json: command, versions, hardware and duration."""
  packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {
      'command': command,
      'seconds': seconds,
      'devices': [str(device.device_kind) for device in jax.devices()],
      'processes': processes.count(),
      'platform': platform.platform(),
      'python': sys.version.split()[0],
      'versions': {**{name: metadata.version(name) for name in packages}, 'mils-jax': __version__},
  }

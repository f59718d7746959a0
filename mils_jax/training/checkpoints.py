"""Checkpoints of a run, kept by Orbax: the latest two and the best by validation accuracy.

The only module that knows Orbax. A checkpoint has three parts: `variables` (parameters and batch statistics, all that
evaluation needs), `progress` (the rest of the training state) and `contract` (the channel slots with their units, means
and deviations, and the class names).
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from mils_jax.channels import ChannelContract
from mils_jax.errors import RunError
from mils_jax.training.state import TrainState

METRIC = 'validation_accuracy'


@dataclasses.dataclass(frozen=True)
class Contract:
  """What a trained model expects and says, beside its arrays.

  Attributes:
    channels: its input slots.
    classes: the names of its logits; a model may have more logits than named classes.
    image_size: height and width of the pictures that it was trained on.
  """

  channels: ChannelContract
  classes: tuple[str, ...]
  image_size: tuple[int, int]

  def to_json(self) -> dict:
    return {'channels': self.channels.to_json(), 'classes': list(self.classes), 'image_size': list(self.image_size)}

  @classmethod
  def from_json(cls, values: dict) -> 'Contract':
    return cls(ChannelContract.from_json(values['channels']), tuple(values['classes']), tuple(values['image_size']))


class Checkpoints:
  """The checkpoints of one run folder. Saving goes on in the background until `wait`."""

  def __init__(self, folder: Path):
    best = checkpoint_managers.BestN(get_metric_fn=_accuracy, n=1, keep_checkpoints_without_metrics=False)
    policy = checkpoint_managers.AnyPreservationPolicy([checkpoint_managers.LatestN(2), best])
    options = ocp.CheckpointManagerOptions(preservation_policy=policy, best_fn=_accuracy, best_mode='max', create=True)
    self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
    self._folder = folder

  @property
  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  @property
  def best_step(self) -> int | None:
    return self._manager.best_step()

  def save(self, step: int, state: TrainState, contract: Contract, validation_accuracy: float) -> None:
    """Saves the state after `step` steps."""
    variables, progress = _split(state)
    items = ocp.args.Composite(variables=ocp.args.StandardSave(variables), progress=ocp.args.StandardSave(progress),
                               contract=ocp.args.JsonSave(contract.to_json()))
    try:
      self._manager.save(step, args=items, metrics={METRIC: float(validation_accuracy)})
    except OSError as error:
      raise RunError(f'saving the checkpoint of step {step} failed: {error}. Older ones are kept in {self._folder}; '
                     'the same command goes on from the last') from error

  def restore(self, step: int, like: TrainState) -> TrainState:
    """The state after `step` steps, placed on the devices as `like` is."""
    variables, progress = jax.tree.map(ocp.utils.to_shape_dtype_struct, _split(like))
    items = ocp.args.Composite(variables=ocp.args.StandardRestore(variables),
                               progress=ocp.args.StandardRestore(progress))
    restored = self._restore(step, items)
    return like.replace(**restored['variables'], **restored['progress'])

  def restore_variables(self, step: int, like: dict) -> dict:
    """Only what the model's apply takes; `like` gives its shapes and its place on the devices."""
    items = ocp.args.Composite(variables=ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, like)))
    return self._restore(step, items)['variables']

  def restore_contract(self, step: int) -> Contract:
    items = ocp.args.Composite(contract=ocp.args.JsonRestore())
    return Contract.from_json(self._restore(step, items)['contract'])

  def _restore(self, step: int, items: ocp.args.Composite) -> Any:
    try:
      return self._manager.restore(step, args=items)
    except (OSError, ValueError, KeyError) as error:
      reason = str(error).splitlines()[0] if str(error) else type(error).__name__
      raise RunError(f'the checkpoint of step {step} in {self._folder} cannot be restored: {reason}') from error

  def wait(self) -> None:
    """Waits until everything saved is on disk."""
    self._manager.wait_until_finished()

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_: object) -> None:
    self.wait()
    self._manager.close()


def _accuracy(metrics: dict | None) -> float:
  return (metrics or {}).get(METRIC, -float('inf'))


def _split(state: TrainState) -> tuple[dict, dict]:
  fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
  variables = {name: fields.pop(name) for name in ('params', 'batch_stats')}
  return variables, fields

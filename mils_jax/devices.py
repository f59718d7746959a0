"""The devices of this host: replication of the state, sharing of a batch, and pmap over both.

The state lives on every device as one replicated array, so it is saved, restored and printed like any other; a batch
has a leading axis of devices. Everything a parallel function returns must be identical on every device (a psum or a
pmean made it so).
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mils_jax.errors import UserError

AXIS = 'batch'  # the name of the mapped axis, for psum, pmean and synchronised batch statistics


class Devices:
  """All local devices, or the first `count` of them (0: all)."""

  def __init__(self, count: int = 0):
    available = jax.local_devices()
    if count < 0 or count > len(available):
      raise UserError(f'devices: {count} asked for, but this host has {len(available)} (0 takes all)')
    self.devices = available[:count] if count else available
    self.mesh = Mesh(np.array(self.devices), (AXIS,))

  @property
  def count(self) -> int:
    return len(self.devices)

  def check_batch_size(self, batch_size: int) -> None:
    """Raises UserError where the devices cannot share a batch equally."""
    if batch_size < 1 or batch_size % self.count:
      raise UserError(f'train.batch_size={batch_size}: must be a positive multiple of the {self.count} devices')

  def replicate(self, tree: Any) -> Any:
    """Puts every array of `tree` on every device, whole."""
    return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

  def share(self, batch: Any) -> Any:
    """Splits the leading axis of every array among the devices: (B, ...) -> (devices, B / devices, ...)."""
    split = jax.tree.map(lambda x: x.reshape(self.count, -1, *x.shape[1:]), batch)  # (D, B/D, ...)
    return jax.device_put(split, NamedSharding(self.mesh, PartitionSpec(AXIS)))

  def parallel(self, function: Callable, replicated: int, shared: int, donate: tuple[int, ...] = (),
               gather: bool = False) -> Callable:
    """Compiles `function` for all devices.

    Args:
      function: takes `replicated` arguments that every device has whole, then `shared` ones split among the devices.
      replicated: how many arguments are whole.
      shared: how many arguments are split.
      donate: positions of arguments whose memory the result may take over.
      gather: False: the result is identical on every device and comes once; True: each device's own result comes,
        stacked along a leading axis.
    """
    in_axes = (None,) * replicated + (0,) * shared
    return jax.pmap(function, AXIS, in_axes=in_axes, out_axes=0 if gather else None, donate_argnums=donate,
                    devices=self.devices)

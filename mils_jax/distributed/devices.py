"""The devices of a run: replicates the state, shards batches, and maps functions over the devices with pmap.

The state lives on every device as one replicated array, so it is saved, restored and printed like any other; a batch
has a leading axis of devices. With several processes each one holds the state on its own devices and its own part of
a batch; a pmapped function, and every sum over devices in it, covers the devices of all processes. Everything that a
parallel function returns must be identical on every device, for example because of such a sum.
"""

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mils_jax.distributed import processes
from mils_jax.errors import UserError
from mils_jax.progress import counted

AXIS = 'batch'  # name of the mapped axis, for sums and synchronised batch statistics
# Options of XLA's compiler.
LITTLE_MEMORY: dict[str, Any] = {'xla_cpu_scheduler_type': 'CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED'}


def sum_over_devices(values: Any, axis: str) -> Any:
  """The sum over all devices of a mapped axis, for each array of a tree.

  On one device that is the array itself; psum would copy it, and only once all arrays are computed: ResNet34's step
  takes 402 instead of 365 ms at 84x84, batch 32, and 285 instead of 207 at 32x32, batch 128; DynamicResNet12's is as
  fast (two cores with AVX-512, jax 0.10.2, medians of five to nine rounds: docs/performance.md).
  """
  return values if lax.axis_size(axis) == 1 else lax.psum(values, axis)


class Devices:
  """All local devices, or the first `count` of them (0: all), of each process.

  Attributes:
    local: devices of this process.
    mesh: mesh of the local devices.
    everywhere: devices of all processes, in the order of the processes.
  """

  def __init__(self, count: int = 0):
    if jax.process_count() != processes.count():
      raise UserError(f'this is one of {jax.process_count()} processes, as on a TPU pod; expected --distributed, which '
                      'joins them')
    self.everywhere = []
    for process in range(processes.count()):
      available = jax.local_devices(process)
      if count < 0 or count > len(available):
        raise UserError(f'devices: {count} asked for, but this host has {len(available)} (0 takes all)')
      self.everywhere += available[:count] if count else available
    self.local = [device for device in self.everywhere if device.process_index == processes.index()]
    self.mesh = Mesh(np.array(self.local), (AXIS,))
    if processes.count() > 1:
      self._connect()

  def _connect(self) -> None:
    """Connects all devices by a first sum over them.

    On CPU, collectives connect the devices at their first use, which all processes must reach within 30 seconds; one
    may compile its first step for much longer than another. Connected devices wait for each other.
    """
    processes.wait_for_all('devices')
    jax.block_until_ready(self.parallel(lambda x: lax.psum(x, AXIS), 0, 1)(self.share(np.ones(len(self.local)))))

  @property
  def platform(self) -> str:
    """Platform of the devices: 'cpu', 'gpu' or 'tpu'."""
    return self.local[0].platform

  @property
  def count(self) -> int:
    """Number of devices across all processes."""
    return len(self.everywhere)

  def check_batch_size(self, batch_size: int) -> None:
    """Raises UserError where the devices cannot share a batch equally."""
    if batch_size % self.count:
      many = f' of {processes.count()} processes' if processes.count() > 1 else ''
      raise UserError(f'train.batch_size={batch_size}: must be a positive multiple of the '
                      f'{counted(self.count, "device")}{many}')

  def replicate(self, tree: Any) -> Any:
    """Copies every array of `tree` to every local device; all processes must pass the same arrays."""
    return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

  def share(self, batch: Any) -> Any:
    """Splits the leading axis of this process's part among its D devices: (B, ...) -> (D, B / D, ...)."""
    split = jax.tree.map(lambda x: x.reshape(len(self.local), -1, *x.shape[1:]), batch)  # (D, B/D, ...)
    return jax.device_put(split, NamedSharding(self.mesh, PartitionSpec(AXIS)))

  def parallel(self, function: Callable, replicated: int, shared: int, donate: tuple[int, ...] = (),
               gather: bool = False, local: bool = False) -> Callable:
    """Compiles `function` for all devices.

    Args:
      function: takes `replicated` arguments that every device has in full, then `shared` ones split among the devices.
      replicated: number of replicated arguments.
      shared: number of split arguments.
      donate: positions of arguments whose memory the result may reuse.
      gather: False: the result is identical on every device and returned once; True: the results of all local devices
        are returned, stacked along a leading axis.
      local: use only this process's devices; the other processes need not call it.
    """
    in_axes = (None,) * replicated + (0,) * shared
    mapped = jax.pmap(function, AXIS, in_axes=in_axes, out_axes=0 if gather else None, donate_argnums=donate,
                      devices=self.local if local else self.everywhere)
    # With several processes, jax.pmap does more than call the compiled function.
    return _InLittleMemory(mapped) if self.platform == 'cpu' and processes.count() == 1 else mapped


def compile_ahead(function: Callable, *arguments: Any) -> None:
  """Starts compiling a parallel function for arguments of these shapes in the background.

  Its first call with such arguments waits for that. On a GPU or a TPU, and with several processes, nothing happens here
  and the first call compiles. From the command to the end of the first step, nothing compiled before, two cores
  (medians of four and three starts each, in turns): task_a 52 s instead of 56, resnet34 43 instead of 51.

  Args:
    function: a result of `Devices.parallel`.
    *arguments: arrays, or their shapes and dtypes.
  """
  if isinstance(function, _InLittleMemory):
    function.compile_ahead(*arguments)


class _InLittleMemory:
  """A pmapped function, compiled for a CPU so that it takes little memory; a step is as fast as without that.

  By default XLA orders operations so that many can run at once, and holds what they need; a CPU's few cores are busy
  without that. The compiler's own memory, which the C library would keep, is released. The highest resident set of two
  training steps at 32x32, batch 128: DynamicResNet12 1513 MB as compiled by default, 1204 MB with the compiler's memory
  released, 877 MB in the other order as well; ResNet34 1321, 988 and 962 MB (docs/performance.md).

  `jax.pmap` takes no compiler options, so the function is lowered and compiled here for each kind of arguments.
  """

  def __init__(self, mapped: jax.stages.Wrapped):
    self._mapped = mapped
    self._compiled: dict[Any, Callable[[], Callable]] = {}  # by kind of arguments; each returns a compiled one

  def __call__(self, *arguments: Any) -> Any:
    kind = _kind(arguments)
    if kind not in self._compiled:
      compiled = self._compile(arguments)
      self._compiled[kind] = lambda: compiled
    return self._compiled[kind]()(*arguments)

  def compile_ahead(self, *arguments: Any) -> None:
    compiler = ThreadPoolExecutor(1)
    self._compiled[_kind(arguments)] = compiler.submit(self._compile, arguments).result
    compiler.shutdown(wait=False)

  def _compile(self, arguments: tuple) -> Callable:
    lowered = self._mapped.lower(*arguments)
    try:
      compiled = lowered.compile(compiler_options=LITTLE_MEMORY)
    except jax.errors.JaxRuntimeError:  # XLA's options change between versions; other errors are raised again here
      compiled = lowered.compile()
    _give_back_freed_memory()
    return compiled


def _kind(arguments: tuple) -> Any:
  """The key of a compiled function: the structure of its arguments, their shapes and dtypes."""
  leaves, structure = jax.tree.flatten(arguments)
  return structure, *((leaf.shape, leaf.dtype) for leaf in leaves)


def _give_back_freed_memory() -> None:
  """Makes the GNU C library return freed memory to the system; elsewhere it does nothing."""
  if sys.platform == 'linux':
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim:
      trim(0)

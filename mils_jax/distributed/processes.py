"""Several processes that are one run: the first one decides, prints and writes; the others compute their shares.

With a single process, every function here works without sending anything or opening a device.

Shared values are sent from device to device. A collective times out (after 30 seconds on CPU), so each follows a
barrier of JAX's coordination service, at which processes wait as long as all of them are alive.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from mils_jax.errors import RunError

_FOREVER = 2**31 // 1000  # seconds; JAX itself ends processes that wait for a dead one


def count() -> int:
  """Number of processes."""
  jax = _joined()
  return jax.process_count() if jax else 1


def index() -> int:
  """Index of this process."""
  jax = _joined()
  return jax.process_index() if jax else 0


def is_first() -> bool:
  """Whether this is the first process, which prints and writes."""
  return index() == 0


def wait_for_all(name: str, seconds: int = _FOREVER) -> None:
  """Returns once every process has called this.

  Args:
    name: name of this barrier, the same on all processes.
    seconds: longest time to wait.

  Raises:
    JaxRuntimeError: the wait timed out, or another process died.
  """
  if count() > 1:
    from orbax.checkpoint import multihost  # here: it is slow to load, and a single process does not need it

    multihost.get_barrier_sync_fn()(key=f'mils_jax/{name}', timeout_ms=1000 * seconds)


def value_of_first(name: str, make: Callable[[], Any]) -> Any:
  """Returns the result of `make()` on the first process to all processes; the others wait for it.

  Args:
    name: name of this value, the same on all processes.
    make: returns a value that JSON can hold; called on the first process only.

  Raises:
    RunError: on the others, where `make` raised on the first.
  """
  if count() == 1:
    return make()
  import numpy as np  # here and below, so that a line can be printed before JAX is loaded
  from jax.experimental import multihost_utils

  text, failure = b'', None
  if is_first():
    try:
      text = json.dumps(make()).encode()
    except Exception as error:
      failure = error
  wait_for_all(name)
  length = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if failure else len(text))))
  if failure:
    raise failure
  if length < 0:
    raise RunError('the first process failed; its own line has the reason')
  sent = np.frombuffer(text, np.uint8) if is_first() else np.zeros(length, np.uint8)
  return json.loads(multihost_utils.broadcast_one_to_all(sent).tobytes())


def arrays_of_first(name: str, make: Callable[[], Any], like: Any) -> Any:
  """Does what `value_of_first` does for a tree of arrays of any size.

  Args:
    name: name of this value, the same on all processes.
    make: called on the first process only.
    like: a tree of arrays, or of their shapes and dtypes, like these.
  """
  if count() == 1:
    return make()
  import jax
  import numpy as np
  from jax.experimental import multihost_utils

  made: list = []
  value_of_first(name, lambda: made.append(make()))
  arrays = made[0] if is_first() else jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), like)
  return multihost_utils.broadcast_one_to_all(arrays)


@contextlib.contextmanager
def first_goes_first(name: str) -> Iterator[None]:
  """Runs this block on the first process before all others; where it fails, they try as well."""
  if not is_first():
    wait_for_all(name)
  try:
    yield
  finally:
    if is_first():
      wait_for_all(name)


def _joined() -> Any:
  """The module jax where this process has joined others; if it is not loaded, it has not."""
  jax = sys.modules.get('jax')
  return jax if jax and jax.distributed.is_initialized() else None

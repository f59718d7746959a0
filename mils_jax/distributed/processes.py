"""Several processes that are one run: the first one decides, prints and writes; the others compute their shares.

What they agree on outside of compiled steps goes through the key-value store of `jax.distributed`. With one process
every function here is what its name says, and nothing is sent.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # the store, and the index before any device is opened, have no public name
from jax.experimental import multihost_utils

PREFIX = 'mils_jax/'
ASKED = PREFIX + 'asked/'  # what the others want of the first process
_FOREVER = 2**31 - 1  # milliseconds: JAX itself ends those who wait for a process that died


def count() -> int:
  """How many processes there are."""
  return distributed.global_state.num_processes


def index() -> int:
  """Which one of them this is."""
  return distributed.global_state.process_id


def is_first() -> bool:
  """Whether this process prints and writes."""
  return index() == 0


def store() -> Any:
  """The key-value store of all processes, None where `jax.distributed` was not started."""
  return distributed.global_state.client


def value_of_first(name: str, make: Callable[[], Any]) -> Any:
  """What `make()` gives on the first process, on all of them; the others wait for it.

  Args:
    name: of this value; each is used once.
    make: gives what JSON can carry. Called on the first process only.
  """
  if store() is None:
    return make()
  key = f'{PREFIX}values/{name}'
  if is_first():
    value = make()
    store().key_value_set(key, json.dumps(value))
    return value
  return json.loads(store().blocking_key_value_get(key, _FOREVER))


def arrays_of_first(name: str, make: Callable[[], Any], like: Any) -> Any:
  """Likewise for a tree of arrays of any size, sent from device to device.

  Args:
    name: of this value; each is used once.
    make: called on the first process only.
    like: a tree of arrays, or of their shapes and dtypes, like these.
  """
  if count() == 1:
    return make()
  arrays = make() if is_first() else jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), like)
  value_of_first(name, lambda: True)  # a collective must not wait for long
  return multihost_utils.broadcast_one_to_all(arrays)


@contextlib.contextmanager
def first_goes_first(name: str) -> Iterator[None]:
  """The first process goes through this block before all others do."""
  if not is_first():
    value_of_first(name, lambda: None)
  yield
  if is_first():
    value_of_first(name, lambda: None)


def ask_first(what: str, value: Any) -> None:
  """Tells the first process something, once: it looks for it every now and then."""
  with contextlib.suppress(jax.errors.JaxRuntimeError):  # it was said before, or nobody is there any more
    store().key_value_set(ASKED + what, json.dumps(value))

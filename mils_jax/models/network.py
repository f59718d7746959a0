"""What a network must offer, and the registry of those that a configuration can name."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from mils_jax.config import option
from mils_jax.nn.conditioning import CONDITIONINGS
from mils_jax.nn.input_channels import IMPUTATIONS


class Network(Protocol):
  """The contract of a network: a linen module with these fields, called like this.

  Fields that are options (config.option) are its section `model` of a configuration; the program sets num_classes,
  in_channels, implementation, dtype and axis_name. A field `temperature` gets a schedule (section `attention`), `mix`
  is counted in both of its values, and 'dropout' is the stream of random numbers in training.

  Attributes:
    num_classes: number of logits.
    in_channels: input channels; images may have fewer.
    imputation, rescale: of missing channels, as in InputChannels.
    conditioning: of every stage and the classifier on the channels, as in InputChannels.
    implementation: of its convolutions, as in Conv; 'lax' where its multiply-adds are counted.
    dtype: of the computation; parameters and statistics are float32.
    axis_name: of the mapped axis whose devices share a batch, as in BatchNorm.
  """

  num_classes: int
  in_channels: int
  imputation: str
  rescale: bool
  conditioning: str
  implementation: str
  dtype: Any
  axis_name: str | None

  def __call__(self, images: jax.Array, train: bool, present: jax.Array | None = None,
               mask: jax.Array | None = None) -> jax.Array:
    """Classifies images.

    Args:
      images: (B, H, W, C <= in_channels), normalised.
      train: whether batch statistics are used and recorded.
      present: (B, C) bool, False where a sample lacks the channel; None: all are there.
      mask: (B,) 0 for padding, else 1; None: every sample counts.

    Returns:
      (B, num_classes) float32 logits.
    """
    ...


class ImageClassifier(nn.Module):
  """The fields of the contract, for networks to inherit: `Network` says what they are."""

  num_classes: int
  in_channels: int = 3
  imputation: str = option('zero', 'of missing channels: zero, a learned value each, or an MLP of the present ones',
                           choices=IMPUTATIONS)
  rescale: bool = option(False, 'multiply the present channels by the number of input channels / their number')
  conditioning: str = option('none', 'of every stage: on which channels are present, or also on statistics of their '
                             'values, which the classifier then has as well', choices=CONDITIONINGS)
  implementation: str = 'auto'
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None


_NETWORKS: dict[str, type[nn.Module]] = {}
_TITLES: dict[str, str] = {}


def register(name: str, title: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
  """Makes `model.name=name` build the decorated network, called `title` in reports.

  Raises:
    TypeError: the class does not keep the contract; found here, not after hours of training.
    ValueError: another network has the name.
  """
  def add(network: type[nn.Module]) -> type[nn.Module]:
    _check(network)
    if name in _NETWORKS:
      raise ValueError(f'network {name!r} is {_NETWORKS[name].__name__} already')
    _NETWORKS[name], _TITLES[name] = network, title
    return network

  return add


def networks() -> dict[str, type[nn.Module]]:
  """The registered networks by name."""
  return dict(_NETWORKS)


def title_of(name: str) -> str:
  """What reports call a network; its name where it is not registered here."""
  return _TITLES.get(name, name)


def _check(network: type[nn.Module]) -> None:
  fields = {field.name for field in dataclasses.fields(network)}
  missing = [name for name in Network.__annotations__ if name not in fields]
  if missing:
    raise TypeError(f'{network.__name__} is no network: it lacks the fields {", ".join(missing)} '
                    '(mils_jax.models.network.Network)')
  expected, found = (list(inspect.signature(owner.__call__).parameters) for owner in (Network, network))
  if found != expected:
    raise TypeError(f'{network.__name__}.__call__ takes {", ".join(found)}; expected {", ".join(expected)} '
                    '(mils_jax.models.network.Network)')

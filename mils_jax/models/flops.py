"""The cost of a function: its multiply-adds, counted in its jaxpr, and XLA's own count for the compiled program.

Three conventions are in use and easily confused: multiply-adds (MACs) of the products, twice that ("FLOPs" in many
papers), and XLA's count of every floating point operation of one compiled program.
"""

import collections
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax.extend import core

CONVENTIONS = (
    'MACs count the multiply-adds of convolutions, attention and fully connected layers; FLOPs = 2 x MACs; XLA counts '
    'every operation of the program as compiled here (normalisation and mixing too, and taps on padding or not).'
)


@dataclasses.dataclass(frozen=True)
class CompiledCost:
  """XLA's cost analysis of one compiled program on one device.

  Attributes:
    flops: floating point operations; a multiply and an add count as two.
    bytes_accessed: bytes read and written by all operations, before any cache.
  """

  flops: float
  bytes_accessed: float


def as_defined(model: nn.Module) -> nn.Module:
  """The network with plain convolutions, for counting: Winograd's products have fewer multiply-adds."""
  return model.clone(implementation='lax')


def count_multiply_adds(function: Callable, *arguments: Any) -> dict[str, int]:
  """Counts the multiply-adds of all matrix products and convolutions in `function`, by the outermost module.

  Elementwise work is not counted, as in the report's and the field's usual figures.

  Args:
    function: any traceable function.
    *arguments: its arguments, or jax.ShapeDtypeStruct in their place.

  Returns:
    Multiply-adds by module name ('' outside of any); their sum is the total.
  """
  counts: collections.Counter[str] = collections.Counter()
  _count(jax.make_jaxpr(function)(*arguments).jaxpr, '', 1, counts)
  return dict(counts)


def _count(jaxpr: core.Jaxpr, module: str, times: int, counts: collections.Counter) -> None:
  for equation in jaxpr.eqns:
    name = module or _module_name(str(equation.source_info.name_stack))
    kind = equation.primitive.name
    if kind == 'dot_general':
      counts[name] += times * _dot_multiply_adds(equation)
    elif kind == 'conv_general_dilated':
      counts[name] += times * _convolution_multiply_adds(equation)
    else:
      repeats = equation.params['length'] if kind == 'scan' else 1
      for inner in _inner_jaxprs(equation):
        _count(inner, name, times * repeats, counts)


def _inner_jaxprs(equation: core.JaxprEqn) -> list[core.Jaxpr]:
  """The jaxprs that an equation calls."""
  found = []
  for value in equation.params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      if isinstance(item, core.ClosedJaxpr):
        found.append(item.jaxpr)
      elif isinstance(item, core.Jaxpr):
        found.append(item)
  return found


def _module_name(name_stack: str) -> str:
  """The network's direct child: 'stage1_block1' for 'DynamicResNet12/stage1_block1/conv1'."""
  parts = [part for part in name_stack.split('/') if part]
  return parts[1] if len(parts) > 1 else ''


def _shape(variable: Any) -> tuple[int, ...]:
  return variable.aval.shape


def _dot_multiply_adds(equation: core.JaxprEqn) -> int:
  (contracted, _), _ = equation.params['dimension_numbers']
  left = _shape(equation.invars[0])
  return math.prod(_shape(equation.outvars[0])) * math.prod(left[axis] for axis in contracted)


def _convolution_multiply_adds(equation: core.JaxprEqn) -> int:
  kernel = _shape(equation.invars[1])
  output_features = equation.params['dimension_numbers'].rhs_spec[0]
  return math.prod(_shape(equation.outvars[0])) * math.prod(kernel) // kernel[output_features]


def count_parameters(parameters: Any) -> dict[str, int]:
  """Number of trained values by the network's direct children; their sum is the total."""
  from clu import parameter_overview  # here, because multiply-adds are also counted where it may be missing

  return {name: int(parameter_overview.count_parameters(child)) for name, child in parameters.items()}


def compiled_cost(function: Callable, *arguments: Any) -> CompiledCost:
  """XLA's count for `function`, compiled for one device of the default backend.

  Args:
    function: any traceable function without loops (XLA counts a loop's body once).
    *arguments: its arguments, or jax.ShapeDtypeStruct in their place.
  """
  analysis = jax.jit(function).lower(*arguments).compile().cost_analysis()
  if isinstance(analysis, list):  # one per device in some versions of JAX
    analysis = analysis[0]
  analysis = analysis or {}
  return CompiledCost(analysis.get('flops', math.nan), analysis.get('bytes accessed', math.nan))

"""Options: each is declared once, as a field of its section, with its default, its help and the values that it takes.

    @dataclasses.dataclass(frozen=True)
    class CheckpointOptions(Section, section='checkpoint'):
      every_steps: int = option(0, 'steps between checkpoints; 0: off', low=0)

Everything else follows from the declaration: the ConfigDict that configuration files fill in (`default_config`), the
error for a bad value, the lists of --help and docs/options.md, and what a missing field of an older run folder means. A
section is declared in the module that it configures; run_config.py combines all sections.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from mils_jax.errors import UserError, unknown
from mils_jax.files import local_path

METADATA = 'option'


@dataclasses.dataclass(frozen=True)
class Option:
  """What is declared for a field, beside its name and type.

  Attributes:
    default: default value.
    help: what it does, with its unit: a short phrase that stands alone.
    low, high: smallest and largest valid value.
    above, below: exclusive limits.
    choices: valid values; empty: any in the range.
    before: value for runs from before the option existed; None: the default.
    path: whether it is a path: '~' is then the home folder, and an address such as gs://... is refused.
  """

  default: Any
  help: str
  low: float | None = None
  high: float | None = None
  above: float | None = None
  below: float | None = None
  choices: Sequence[str] = ()
  before: Any = None
  path: bool = False

  def check(self, name: str, value: Any) -> None:
    """Raises UserError for a value that the option cannot take; `name` is the full name, such as 'train.epochs'."""
    if self.choices and value not in self.choices:
      raise unknown(name, value, [choice or "''" for choice in self.choices])
    if isinstance(value, tuple) and not value:
      raise UserError(f'{name}=(): expected at least one value')
    for one in value if isinstance(value, tuple) else (value,):
      if isinstance(one, int | float) and not (self._in_range(one) and math.isfinite(one)):
        raise UserError(f'{name}={value}: must be {self._range(one)}')

  @property
  def kind(self) -> str:
    """What it takes: 'int', 'path', 'tuple of int'."""
    if self.path:
      return 'path'
    if isinstance(self.default, tuple):
      return f'tuple of {type(self.default[0]).__name__}'
    return type(self.default).__name__

  @property
  def interval(self) -> str:
    """The declared range: '>= 0 and < 1', '0..1'; empty: there is none."""
    if self.low is not None and self.high is not None:
      return f'{self.low}..{self.high}'
    limits = (('>=', self.low), ('>', self.above), ('<=', self.high), ('<', self.below))
    return ' and '.join(f'{sign} {limit}' for sign, limit in limits if limit is not None)

  def _in_range(self, value: float) -> bool:
    return ((self.low is None or value >= self.low) and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high) and (self.below is None or value < self.below))

  def _range(self, value: float) -> str:
    """The valid range in words, such as 'at least 0 and below 1'."""
    limits = (('at least', self.low), ('above', self.above), ('at most', self.high), ('below', self.below))
    parts = [f'{word} {limit}' for word, limit in limits if limit is not None]
    unbounded = isinstance(value, float) and self.high is None and self.below is None
    return ' and '.join([*parts, 'finite'] if unbounded else parts)


def option(default: Any, help: str, *, low: float | None = None, above: float | None = None,
           high: float | None = None, below: float | None = None, choices: Sequence[str] = (),
           before: Any = None, path: bool = False) -> Any:
  """A dataclass field that is an option; the arguments are Option's attributes."""
  return as_field(Option(default, help, low, high, above, below, choices, before, path))


def as_field(option: Option) -> Any:
  """A dataclass field that is this option."""
  return dataclasses.field(default=option.default, metadata={METADATA: option})


def options_of(owner: type) -> dict[str, dataclasses.Field]:
  """The fields of a dataclass that are options, by name; the program sets the others, such as a module's dtype."""
  return {field.name: field for field in dataclasses.fields(owner) if METADATA in field.metadata}


def declared(field: dataclasses.Field) -> Option:
  """The declaration of an option's field."""
  return field.metadata[METADATA]


def check_options(owner: Any) -> None:
  """Raises ValueError where an option of a network that was built without a configuration is invalid."""
  for name, field in options_of(type(owner)).items():
    try:
      declared(field).check(name, getattr(owner, name))
    except UserError as error:
      raise ValueError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class Section:
  """Base of all sections: a frozen dataclass whose fields are options or sections.

  Rules between fields go into a subclass's own __post_init__, after super().__post_init__().

  Attributes:
    section: its name in the configuration, for messages; given where a subclass is declared.

  Raises:
    UserError: a value is of another type than the default, out of range or no valid choice.
  """

  section: ClassVar[str] = ''

  def __init_subclass__(cls, section: str = ''):
    super().__init_subclass__()
    cls.section = section or cls.section

  def __post_init__(self):
    for name, field in options_of(type(self)).items():
      value = _converted(f'{self.section}.{name}', getattr(self, name), field)
      if declared(field).path:
        value = local_path(value, f'{self.section}.{name}')
      object.__setattr__(self, name, value)
      declared(field).check(f'{self.section}.{name}', value)

  @classmethod
  def read(cls, values: Mapping[str, Any], older: bool = False) -> Self:
    """Reads a section from a mapping of its fields.

    Args:
      values: value of each field.
      older: whether they were written by a version that may not have had every option: a missing one then means "as
        before it existed", else its default.

    Raises:
      UserError: there is no such field, or as the section itself raises.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown_names = [name for name in values if name not in fields]
    if unknown_names:
      raise unknown('config field', f'{cls.section}.{unknown_names[0]}', [f'{cls.section}.{known}' for known in fields])
    given = {name: declared(field).before for name, field in options_of(cls).items()
             if older and name not in values and declared(field).before is not None}
    for name, field in fields.items():
      inner = field.type
      if isinstance(inner, type) and issubclass(inner, Section):
        given[name] = inner.read(values.get(name, {}), older)
      elif name in values:
        given[name] = values[name]
    return cls(**given)


def _converted(name: str, value: Any, field: dataclasses.Field) -> Any:
  """The value as the type of the option's default: JSON has no tuples and writes whole floats as integers."""
  default = field.default
  if isinstance(default, tuple):
    value = tuple(value) if isinstance(value, list | tuple) else (value,)
    kinds = {type(item) for item in default}
    if kinds and not {type(item) for item in value} <= kinds:
      raise UserError(f"{name}={','.join(map(str, value))}: expected {_PLURALS[kinds.pop()]} in brackets, such as "
                      f"--config.{name}='{default}'")
  elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
    value = float(value)
  if type(value) is not type(default):
    raise UserError(f'{name}={value!r}: expected {_NAMES[type(default)]}')
  return value


_PLURALS = {int: 'whole numbers', float: 'numbers', str: 'texts'}
_NAMES = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text', tuple: 'values in brackets'}


def describe(sections: Mapping[str, Section]) -> Iterator[tuple[str, Any, Option]]:
  """(full name, value, declaration) of every option of the sections, in order."""
  for name, section in sections.items():
    fields = options_of(type(section))
    for field in dataclasses.fields(section):
      value = getattr(section, field.name)
      if isinstance(value, Section):
        yield from describe({f'{name}.{field.name}': value})
      elif field.name in fields:
        yield f'{name}.{field.name}', value, declared(fields[field.name])


@functools.cache
def module_section(owner: type, base: type[Section]) -> type[Any]:
  """A section with the fields of `base` and those fields of a linen module that are options."""
  fields = [(name, field.type, as_field(declared(field))) for name, field in options_of(owner).items()]
  return dataclasses.make_dataclass(f'{owner.__name__}Options', fields, bases=(base,), frozen=True)

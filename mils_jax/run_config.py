"""The whole configuration of a run: one section for each part, set by configs/ and stored in config.json."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from mils_jax import schema
from mils_jax.channel_dropout import ChannelDropout
from mils_jax.channel_subsets import EvaluationOptions
from mils_jax.channels import ChannelOptions
from mils_jax.config import Option, Section, describe, module_section, option
from mils_jax.data.augment import Augmentation
from mils_jax.data.sources import DataOptions, data_section
from mils_jax.distributed.runtime import RuntimeOptions
from mils_jax.errors import UserError, unknown
from mils_jax.models import networks
from mils_jax.schema import FREE
from mils_jax.training.cadence import CheckpointOptions
from mils_jax.training.optim import OptimizerOptions
from mils_jax.training.plan import TrainOptions
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.temperature import AttentionOptions


@dataclasses.dataclass(frozen=True)
class ModelOptions(Section, section='model'):
  """The choice of the network; `model_section` adds the network's own options."""

  name: str = option('', f'network: {", ".join(networks())}')
  num_classes: int = option(0, "number of logits; 0: the data's number of classes", low=0)

  if TYPE_CHECKING:
    def __getattr__(self, name: str) -> Any: ...  # a network's own options


def model_section(name: str) -> type[ModelOptions]:
  """ModelOptions with a network's own options; raises UserError where there is no such network."""
  if name not in networks():
    raise unknown('model.name', name, networks())
  return module_section(networks()[name], ModelOptions)


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """The configuration of a run.

  Attributes:
    name: names the run folder.
    data, channels, channel_dropout, model, attention, augment, optimizer, train: sections that affect results.
    checkpoint, evaluation, runtime: sections that do not (`schema.FREE`).
  """

  name: str
  data: DataOptions
  channels: ChannelOptions
  channel_dropout: ChannelDropout
  model: ModelOptions
  attention: AttentionOptions
  augment: Augmentation
  optimizer: OptimizerOptions
  train: TrainOptions
  checkpoint: CheckpointOptions
  evaluation: EvaluationOptions
  runtime: RuntimeOptions

  @classmethod
  def read(cls, values: Mapping[str, Any] | ConfigDict, older: bool = False) -> 'RunConfig':
    """Reads a configuration from nested values; `older` as in Section.read.

    Raises:
      UserError: there is no such section, field or network, or a value is not one that the field can take.
    """
    values = values.to_dict() if isinstance(values, ConfigDict) else values
    model = values.get('model', {})
    if not isinstance(model, Mapping):
      raise UserError(f'model={model!r}: expected a section with fields such as name')
    model = str(model.get('name', ''))
    sections = sections_of(model)
    for name in values:
      if name != 'name' and name not in sections:
        raise unknown('config section', name, ['name', *sections])
    read = {}
    for name, section in sections.items():
      given = values.get(name, {})
      if not isinstance(given, Mapping):
        raise UserError(f'{name}={given!r}: expected a section with fields such as '
                        f'{dataclasses.fields(section)[0].name}')
      read[name] = section.read(given, older)
    return cls(str(values.get('name', model)), **read)

  @classmethod
  def from_file(cls, values: dict[str, Any]) -> 'RunConfig':
    """Reads a configuration from the contents of a config.json, of any version of the schema."""
    return cls.read(schema.upgraded_config(values), older=True)

  def values(self) -> dict[str, Any]:
    """The configuration as plain nested values, for a ConfigDict."""
    return dataclasses.asdict(self)

  def to_file(self) -> dict[str, Any]:
    """The contents of config.json."""
    return {schema.KEY: schema.VERSION, **self.values()}

  def options(self) -> Iterator[tuple[str, Any, Option]]:
    """(full name, value, declaration) of every option."""
    return describe({name: getattr(self, name) for name in sections_of(self.model.name)})

  def with_model(self, **changes: Any) -> 'RunConfig':
    """The same configuration with other options of the network."""
    return dataclasses.replace(self, model=dataclasses.replace(self.model, **changes))


def sections_of(model: str) -> dict[str, type[Section]]:
  """The sections of a network's configuration, by name, in order."""
  given = {'data': data_section(), 'model': model_section(model)}
  return {field.name: given.get(field.name, field.type) for field in dataclasses.fields(RunConfig)
          if field.name != 'name'}


def default_config(name: str, model: str) -> Any:
  """A ConfigDict of a network with every option at its default, for a configuration file to change."""
  config = RunConfig.read({'name': name, 'model': {'name': model}})
  return ConfigDict(config.values())


def saved_config(folder: RunFolder) -> RunConfig:
  """The configuration of a run folder, of any version; raises UserError where it is no run folder."""
  return RunConfig.from_file(folder.read_config())


def check_owner(folder: RunFolder, config: RunConfig, free: tuple[str, ...] = (),
                same_data: Callable[[], bool] = lambda: False) -> None:
  """Raises UserError where the folder belongs to another configuration, or is no run folder.

  Args:
    folder: the run folder.
    config: the current configuration.
    free: sections or fields that may differ, in addition to those that change no result.
    same_data: called only where fields differ that determine where the data lies and how it is read; returns whether
      the data is still the run's own, such as a copy.
  """
  if not folder.config.exists():
    folder.check_empty()
    return
  before, now = (dict(schema.flattened(one.values())) for one in (saved_config(folder), config))
  different = [name for name in sorted(before | now) if before.get(name) != now.get(name) and name != 'name'
               and not _within(name, (*FREE, *free))]
  if different and not (all(map(_is_of_data, different)) and same_data()):
    lines = [f'{name} is {before.get(name)!r} there, {now.get(name)!r} here' for name in different]
    longer = set(different) <= {'train.epochs', 'train.steps'}
    raise UserError(f'{folder.path} belongs to another configuration: {"; ".join(lines)}. Give another --workdir, or '
                    'the same settings' + (f'. To train on from its weights: another --workdir and '
                                           f'--config.train.init_from={folder.path}' if longer else ''))


def as_it_was(config: RunConfig, folder: RunFolder) -> RunConfig:
  """The configuration with the former meaning of options that the folder's config.json does not have yet.

  So the command that started a run also resumes it after an option was added, whose default may mean something else.
  """
  if not folder.config.exists():
    return config
  known = dict(schema.flattened(schema.upgraded_config(folder.read_config())))
  values = dict(schema.flattened(config.values()))
  defaults = dict(schema.flattened(default_config(config.name, config.model.name).to_dict()))
  older = {name: option.before for name, value, option in config.options()
           if option.before is not None and name not in known and value == defaults.get(name)}
  return RunConfig.read(schema.nested({**values, **older})) if older else config


def claim(folder: RunFolder, config: RunConfig, same_data: Callable[[], bool] = lambda: False) -> None:
  """Claims the folder for this configuration; raises UserError as `check_owner`, or where it cannot be written."""
  check_owner(folder, config, same_data=same_data)
  if not folder.config.exists() or saved_config(folder).data != config.data:  # record where the same data lies now
    folder.write_config(config.to_file())


def _is_of_data(name: str) -> bool:
  """Whether a field only selects the data, so that comparing the data itself can replace comparing the field."""
  return name.startswith('data.') and name != 'data.normalization'


def _within(name: str, parts: tuple[str, ...]) -> bool:
  return any(name == part or name.startswith(f'{part}.') for part in parts)

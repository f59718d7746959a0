"""The kinds of sources, each registered in its own module together with its own options."""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mils_jax.config import Section, as_field, declared, option, options_of
from mils_jax.data.sources.names import split_config_names
from mils_jax.data.sources.pixels import FROM_FILE, NO_NODATA, Reading
from mils_jax.data.sources.source import Source
from mils_jax.data.sources.splits import EverySplit
from mils_jax.errors import UserError

Opener = Callable[['DataOptions', Any], Source]

_SOURCES: dict[str, tuple[type[Section], Opener]] = {}
_TITLES: dict[str, str] = {}


@dataclasses.dataclass(frozen=True)
class DataOptions(Section, section='data'):
  """The choice of the data and how it is read. `data_section` adds the kinds of sources, with a section for each."""

  source: str = option('shapes', 'source of the images')
  path: str = option('', 'folder of images or .npy files, .npz file, or TFDS data folder (empty: its default)',
                     path=True)
  image_size: int = option(0, 'side of the square that images are resized to, in pixels; 0: as stored', low=0)
  normalization: str = option('data', "mean and std per channel: of the training split (data) or of ImageNet's R, G, B "
                              '(imagenet)', choices=('data', 'imagenet'))
  seed: int = option(0, 'random seed for cutting splits and drawing shapes', low=0)
  channel_names: str = option('', 'comma-separated channel names; empty: those in the data')
  channel_axis: str = option('', 'channel axis of TIFF files and arrays that do not state it',
                             choices=('', 'first', 'last'))
  color: str = option('auto', 'color mode of JPEG, PNG and the like; auto: grey if all images are, else rgb',
                      choices=('auto', 'rgb', 'grey', 'as_is'), before='as_is')
  nodata: str = option(FROM_FILE, 'value of pixels without data, a number or nan; empty: as TIFF files say; none: no '
                       'such value', before=NO_NODATA)
  metadata: str = option('use', 'use or ignore the orientation and channel names stored in image files',
                         choices=('use', 'ignore'), before='ignore')
  skip_damaged: bool = option(False, 'skip unreadable images, and count them')
  val_fraction: float = option(0.1, 'fraction of training images used for validation if there is no validation split; '
                               '0: none', low=0, below=1)
  test_fraction: float = option(0.1, 'fraction of training images used for testing if there is no test split; 0: none',
                                low=0, below=1)
  group_by: str = option('', "what keeps images of one scene or patient in one split: file names like "
                         "'{group}_*.tif', or the name of a table column, array or TFDS feature")

  if TYPE_CHECKING:
    def __getattr__(self, name: str) -> Any: ...  # the own options of each kind of source

  def __post_init__(self):
    super().__post_init__()
    _ = self.reading  # raises for a nodata that is no number

  @property
  def names(self) -> tuple[str, ...]:
    """The configured channel names."""
    return split_config_names(self.channel_names)

  @property
  def reading(self) -> Reading:
    """How image files become arrays."""
    return Reading(self.image_size, self.channel_axis, self.color, self.nodata, self.metadata == 'use')


def register(name: str, options: type[Section], title: str) -> Callable[[Opener], Opener]:
  """Registers the decorated function of (DataOptions, its own options) to open the source `data.source=name`.

  Help and documentation show its title. Its own option `name`, if it has one, is the name of the dataset.
  """
  def add(opener: Opener) -> Opener:
    _SOURCES[name], _TITLES[name] = (options, opener), title
    return opener

  return add


def sources() -> tuple[str, ...]:
  """The names of all kinds of sources: the modules of this package register them when they are imported."""
  for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    importlib.import_module(f'{__package__}.{module.name}')
  return tuple(sorted(_SOURCES))


def title_of(name: str) -> str:
  """What help and documentation call a kind of source."""
  return _TITLES[name]


def set_name(options: DataOptions) -> str:
  """What the set is called, without the path of a machine."""
  own = getattr(options, options.source)
  return getattr(own, 'name', '') or Path(options.path).name or options.source


@functools.cache
def data_section() -> type[DataOptions]:
  """DataOptions with the kinds of sources and the own options of each, such as data.shapes.num_train."""
  source = declared(options_of(DataOptions)['source'])
  kinds = '; '.join(f'{name}: {title_of(name)}' for name in sources())
  listed = dataclasses.replace(source, help=f'{source.help}; {kinds}', choices=sources())
  fields: list[tuple[str, type, Any]] = [
      ('source', str, as_field(listed)),
      *((name, _SOURCES[name][0], dataclasses.field(default_factory=_SOURCES[name][0])) for name in sources())]
  return dataclasses.make_dataclass('DataOptions', fields, bases=(DataOptions,), frozen=True)


def open_source(name: str, **options: Any) -> Source:
  """Opens a source with every split: open_source('tfds', path='sets', tfds={'name': 'eurosat/all'}).

  Args:
    name: kind of source.
    **options: fields of DataOptions and, as a mapping under its name, those of the kind.

  Raises:
    UserError: an option is unknown or out of range, or the data is invalid.
  """
  return open_configured(data_section().read({'source': name, **options}))


def open_configured(options: DataOptions) -> Source:
  """Opens a source likewise from an instance of the class that `data_section` returns."""
  _, opener = _SOURCES[options.source]
  source = EverySplit(opener(options, getattr(options, options.source)), options.val_fraction, options.test_fraction,
                      options.seed)
  if options.group_by and source.groups('train') is None:
    raise UserError(f"data.group_by='{options.group_by}': data.source={options.source} has no groups")
  return source

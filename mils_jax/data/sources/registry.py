"""The kinds of sources, each registered in its own module with the options that it alone has."""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mils_jax.config import Section, option
from mils_jax.data.sources.names import split_config_names
from mils_jax.data.sources.pixels import CHANNEL_AXES, COLORS, FROM_FILE, METADATA, NO_NODATA, Reading
from mils_jax.data.sources.source import Source
from mils_jax.data.sources.splits import EverySplit
from mils_jax.errors import UserError, unknown

Opener = Callable[['DataOptions', Any], Source]

_SOURCES: dict[str, tuple[type[Section], Opener]] = {}


@dataclasses.dataclass(frozen=True)
class DataOptions(Section):
  """Which images, and how they are read. `data_section` adds a section for each kind of source."""

  section: ClassVar[str] = 'data'

  source: str = option('shapes', 'the kind: shapes (built in), folder, arrays or tfds')
  path: str = option('', 'folder: its root; arrays: the .npz or the folder of .npy; tfds: its data folder, or empty',
                     path=True)
  image_size: int = option(0, "pixels of a side; 0: the images' own size", low=0)
  normalization: str = option('data', "data: mean and std of the training split; imagenet: ImageNet's (R, G, B)",
                              choices=('data', 'imagenet'))
  seed: int = option(0, 'of the cut of missing splits, and of the drawing of shapes', low=0)
  channel_names: str = option('', 'comma-separated; empty: what the data says')
  channel_axis: str = option('', 'first or last, where TIFF files and arrays do not say', choices=CHANNEL_AXES)
  color: str = option('auto', 'of JPEG, PNG and the like: rgb (grey ones spread, alpha left out), grey (by luminance) '
                      'or as_is; auto: rgb, or grey where all are', choices=COLORS, before='as_is')
  nodata: str = option(FROM_FILE, 'the value of pixels without data: a number or nan; empty: what a TIFF says of '
                       'itself; none: every value counts', before=NO_NODATA)
  metadata: str = option('use', 'use or ignore the orientation and the names of channels that image files give',
                         choices=METADATA, before='ignore')
  skip_damaged: bool = option(False, 'leave images out that cannot be read, and count them')
  val_fraction: float = option(0.1, 'of the training split, where there is no validation split', low=0, below=1)
  test_fraction: float = option(0.1, 'likewise for a missing test split', low=0, below=1)
  group_by: str = option('', "cut splits so that images of one scene or patient stay together: of files a pattern such "
                         "as '{group}_*.tif', of a table a column, of arrays an array, of tfds a feature")

  if TYPE_CHECKING:
    def __getattr__(self, name: str) -> Any: ...  # the own options of each kind of source

  def __post_init__(self):
    super().__post_init__()
    if self.source not in sources():
      raise unknown('data.source', self.source, sources())
    _ = self.reading  # refuses a nodata that is no number

  @property
  def names(self) -> tuple[str, ...]:
    """The channel names that the configuration gives."""
    return split_config_names(self.channel_names)

  @property
  def reading(self) -> Reading:
    """How images become arrays."""
    return Reading(self.image_size, self.channel_axis, self.color, self.nodata, self.metadata == 'use')


def register(name: str, options: type[Section]) -> Callable[[Opener], Opener]:
  """Makes `data.source=name` open a source with the decorated function of (DataOptions, its own options)."""
  def add(opener: Opener) -> Opener:
    _SOURCES[name] = options, opener
    return opener

  return add


def sources() -> tuple[str, ...]:
  """The names of all kinds of sources: the modules of this package register them when they are imported."""
  for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    importlib.import_module(f'{__package__}.{module.name}')
  return tuple(sorted(_SOURCES))


@functools.cache
def data_section() -> type[DataOptions]:
  """DataOptions with the own options of each kind of source, such as data.shapes.num_train."""
  fields = [(name, _SOURCES[name][0], dataclasses.field(default_factory=_SOURCES[name][0])) for name in sources()]
  return dataclasses.make_dataclass('DataOptions', fields, bases=(DataOptions,), frozen=True)


def open_source(name: str, **options: Any) -> Source:
  """Opens a source with all three splits: open_source('tfds', path='sets', tfds={'name': 'eurosat/all'}).

  Args:
    name: the kind of source.
    **options: of DataOptions and, as a mapping under its name, of the kind.

  Raises:
    UserError: an option is unknown or out of range, or what the source reads is not as it should be.
  """
  return open_configured(data_section().read({'source': name, **options}))


def open_configured(options: DataOptions) -> Source:
  """Likewise for an instance of what `data_section` returns."""
  _, opener = _SOURCES[options.source]
  source = opener(options, getattr(options, options.source))
  if options.group_by and source.groups('train') is None:
    raise UserError(f"data.group_by='{options.group_by}': data.source={options.source} has no groups")
  return EverySplit(source, options.val_fraction, options.test_fraction, options.seed)

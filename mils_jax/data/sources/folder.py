"""A folder of image files: split lists (`relative/path label` a line, or a table), trees `train/<class>/...`, or class
folders alone."""

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterator

import numpy as np

from mils_jax.config import Section, option
from mils_jax.data.sources import band_files, grouping, image_formats, jpeg2000, names, pictures
from mils_jax.data.sources.band_files import AUTO, OFF, BandFiles
from mils_jax.data.sources.images import decoders_settled, read_image
from mils_jax.data.sources.layouts import find_layout
from mils_jax.data.sources.pixels import AS_IT_IS, NO_NODATA, Decoded, Reading
from mils_jax.data.sources.placing import placed
from mils_jax.data.sources.registry import DataOptions, register
from mils_jax.data.sources.source import OWN, Source, Statement, first_readable
from mils_jax.errors import UserError

NOT_THERE = (-1, 0)  # size and time of a file that does not exist
HEADS = 1000  # evenly spaced images whose headers decide whether a dataset is grey


@dataclasses.dataclass(frozen=True)
class FolderOptions(Section, section='data.folder'):
  """Options that only folders have."""

  allow_outside: bool = option(False, 'allow images outside the folder, through lists or links')
  label_column: str = option('', 'label column of tables such as train.csv; empty: found by its name')
  band_files: str = option(AUTO, "pattern for one file per channel: '{image}_{band}.tif'; auto: Sentinel-2, Landsat; "
                           'none: off', before=OFF)


class FolderSource(Source):
  """Reads Pillow formats through Pillow, TIFF through tifffile, and `.npy` images.

  Args:
    root: folder in one of the layouts of `layouts`; `channels.txt` may name the channels, one per line, with their
      units: in the root for all images, in a folder for the images below it.
    reading: how files become arrays.
    channel_names: names of the channels; empty: those of `channels.txt`, else the first file's own, else R, G, B for
      three, else c0, c1, ...
    options: options that only folders have.
    group_by: a pattern of file names with {group} in it, or a column of train.csv; '': no groups.

  Raises:
    UserError: a folder, list or line is invalid; the message names it.
  """

  decodes = True

  def __init__(self, root: str, reading: Reading = AS_IT_IS, channel_names: tuple[str, ...] = (),
               options: FolderOptions = FolderOptions(), group_by: str = ''):
    self.root = os.path.abspath(root)
    if not root or not os.path.isdir(self.root):
      raise UserError(f"data.path='{root}': no such folder; expected one with train.txt or train/<class>/ in it")
    self.options = options
    self._grouping = grouping.pattern_of(group_by)
    layout = find_layout(self.root, options.label_column, '' if self._grouping else group_by)
    self.classes, self._origin, self._labels = layout.classes, layout.origin, layout.labels
    self._groups = layout.groups
    if group_by and not self._grouping and 'train' not in self._groups:
      raise UserError(f"data.group_by='{group_by}': expected a column of train.csv, or a pattern of the files' names "
                      "with {group} in it, such as '{group}_*.tif'")
    self._notes = list(layout.notes)
    self._given = channel_names
    for split, files in layout.files.items():
      if not files:
        raise UserError(f"data.path='{root}': the {split} split is empty; expected at least one image")
      for folder, name in {os.path.dirname(name): name for name in files}.items():
        self._check_inside(split, name, folder)
    self._files = self._put_together(layout.files)
    self.splits = tuple(self._files)
    self.reading = dataclasses.replace(reading, color=self._settled_color(reading.color))
    self._remarks: tuple[str, ...] = ()
    self._name_channels()
    first = self._first_jpeg2000()
    self._jpeg2000_changed = bool(first) and not jpeg2000.is_of_eight_bits(os.path.join(self.root, first))
    self.notes = tuple(self._notes)

  def length(self, split: str) -> int:
    return len(self._files[split])

  def labels(self, split: str) -> np.ndarray:
    return self._labels[split]

  def groups(self, split: str) -> np.ndarray | None:
    if self._grouping:
      return grouping.groups_of([_called(image) for image in self._files[split]], self._grouping)
    return self._groups.get(split)

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    image = self._files[split][index]
    decoded, listing = self._decode(image), self._listing(image)
    where = self.example_id(split, index)
    if isinstance(image, str):
      band_files.check_apart(decoded, listing, self._bands, where)
    pixels, note = placed(decoded, self.channels, listing, bool(self._given), self._named, where,
                          self._first_statement)
    self._remarks = (*decoded.notes, *([note] if note else []))
    return pixels, int(self._labels[split][index])

  def remarks(self, split: str, index: int) -> tuple[str, ...]:
    return self._remarks

  def example_id(self, split: str, index: int) -> str:
    image = self._files[split][index]
    return image.example_id if isinstance(image, BandFiles) else image

  place = example_id

  def settings(self) -> dict:
    # Settings with their meaning from before an option existed are left out, so that older runs recognise their data.
    later = {'color': (self.reading.color, 'as_is'), 'nodata': (self.reading.nodata, NO_NODATA),
             'band_files': (self.options.band_files if self._bands else OFF, OFF),
             'metadata': ('use' if self.reading.metadata else 'ignore', 'ignore'),
             'listings': (self._nested, {}), 'naming': (2 if self._others_name else 1, 1),
             'names_given': (bool(self._given) and self._others_name, False),
             'jpeg2000': (2 if self._jpeg2000_changed else 1, 1)}
    return {'source': 'folder', 'image_size': self.reading.size, 'channel_axis': self.reading.channel_axis,
            'channels': self.channels, 'units': self.units, 'classes': self.classes,
            **{name: value for name, (value, before) in later.items() if value != before}}

  def inputs(self) -> list[tuple[str, int, int]]:
    return [(f'{split} {label} {name}', *found) for split, label, name, found in self._found()]

  def missing(self) -> list[str]:
    return [f'{self._origin[split]}: {name[:120]!r}: no such image beneath {self.root}'
            for split, _, name, found in self._found() if found == NOT_THERE]

  def _found(self) -> Iterator[tuple[str, int, str, tuple[int, int]]]:
    """The split, label, path, and size and time of every file."""
    root = os.open(self.root, os.O_RDONLY)  # looking up names from here is faster
    try:
      for split, images in self._files.items():
        for image, label in zip(images, self._labels[split].tolist(), strict=True):
          for name in _files_of(image):
            yield split, label, name, self._size_and_time(root, split, name)
    finally:
      os.close(root)

  def _size_and_time(self, root: int, split: str, name: str) -> tuple[int, int]:
    try:
      status = os.stat(name, dir_fd=root, follow_symlinks=False)
      if stat.S_ISLNK(status.st_mode):
        self._check_inside(split, name, name)
        status = os.stat(name, dir_fd=root)
    except (OSError, ValueError):  # ValueError: a character that no path can have
      return NOT_THERE
    return status.st_size, status.st_mtime_ns

  def _check_inside(self, split: str, name: str, path: str) -> None:
    """Raises UserError where the path of an image or its folder leads out of the root, also through a link."""
    if self.options.allow_outside or '\0' in path:  # a character that no path can have: reported when it is listed
      return
    root = os.path.realpath(self.root)
    if os.path.commonpath([root, os.path.realpath(os.path.join(root, path))]) != root:
      raise UserError(f"{self._origin[split]}: '{name[:120]}' lies outside of {self.root}, perhaps by a link; expected "
                      'paths beneath it (data.folder.allow_outside=true allows others)')

  def _put_together(self, files: dict[str, list[str]]) -> dict[str, list[str | BandFiles]]:
    """The images of each split, each as one file or as the files of its bands."""
    every = [name for names_ in files.values() for name in names_]
    pattern = band_files.pattern_of(self.options.band_files, every)
    together: dict[str, list[str | BandFiles]] = {}
    for split, names_ in files.items():
      together[split], rows, coarser = band_files.grouped(names_, pattern)
      self._notes += [f'{split}: {note}' for note in band_files.left_out(coarser)]
      if len(rows) == len(names_) and not any(isinstance(image, BandFiles) for image in together[split]):
        continue
      for what, columns in (('labels', self._labels), ('groups', self._groups)):
        if split not in columns:
          continue
        values = dict(zip(names_, columns[split].tolist(), strict=True))
        for image in together[split]:
          if not isinstance(image, BandFiles):
            continue
          mine = {values[name] for name in (*_files_of(image), *coarser.get(image.example_id, ()))}
          if len(mine) > 1:
            raise UserError(f'{self._origin[split]}: the bands of {image.example_id} have different {what}: '
                            f'{sorted(mine)}')
        columns[split] = columns[split][rows]
    seen: dict[str, str] = {}
    for split, images in together.items():
      for image in images:
        if isinstance(image, BandFiles) and seen.setdefault(image.example_id, split) != split:
          raise UserError(f'{self._origin[split]}: some bands of {image.example_id} are in the {split} split, others '
                          f'in {seen[image.example_id]}; expected all in one')
    self._bands = band_files.band_names(image for images in together.values() for image in images)
    if self._bands:
      number = sum(len(_files_of(image)) for images in together.values() for image in images
                   if isinstance(image, BandFiles))
      self._notes.append(f'{number} files of one band each are {len(seen)} images: {", ".join(self._bands)}')
    elif band_files.looks_like_bands(every):
      self._notes.append(band_files.APART)
    return together

  def _settled_color(self, color: str) -> str:
    """Resolves `auto`: grey where all sampled photographs are grey, else rgb."""
    if color != 'auto':
      return color
    photographs = [image for image in self._files['train'] if isinstance(image, str)
                   and image_formats.suffix(image) not in (*image_formats.TIFF, image_formats.ARRAY)]
    some = photographs[::max(1, len(photographs) // HEADS)]
    with decoders_settled():
      return 'rgb' if not some or any(pictures.is_colour(os.path.join(self.root, name)) for name in some) else 'grey'

  def _name_channels(self) -> None:
    """Determines the names and units of the dataset's channels, of which each image has all or some."""
    folders = {os.path.dirname(_files_of(image)[0]) for images in self._files.values() for image in images}
    self._listings = names.listings(map(self._inside, folders), self.root, beyond=False)
    found = {one.path: one for one in self._listings.values() if one is not None}
    listings = dict(sorted(found.items(), key=lambda item: (item[0].count(os.sep), item)))  # the root's first
    listed = dict.fromkeys(name for one in listings.values() for name in one.names)
    units = {name: unit for one in listings.values() for name, unit in zip(one.names, one.units, strict=True)}
    by_folder = {os.path.relpath(os.path.dirname(path), self.root): one.names for path, one in listings.items()}
    self._nested = by_folder if set(by_folder) - {'.'} else {}  # a single one in the root names the channels
    bands = self._bands
    self._renamed = band_files.renamed((image for images in self._files.values() for image in images), self._given)
    decoded = self._first()
    count = decoded.pixels.shape[-1]
    self._others_name = bool(listed or decoded.names)  # in addition to the configuration
    self._named = bool(self._given or bands or self._others_name)
    if self._given:
      names.check_different(self._given, 'data.channel_names')
      self.channels = self._given
      if not bands and len(self._given) < count:
        names.name_channels(count, self._given, 'data.channel_names')  # raises
    elif listed or bands:
      self.channels = tuple(listed) or bands
      if not bands and len(self.channels) < count:
        names.name_channels(count, self.channels, next(iter(listings)))  # raises
    elif decoded.names or (decoded.color == (names.GREY,) and self.reading.color != 'as_is'):
      self.channels = decoded.names or decoded.color
      units = dict(zip(decoded.names, decoded.units, strict=False))
    else:
      self.channels, notes = names.name_channels(count, (), '', decoded.color == names.RGB)
      self._notes += notes
    self._first_statement = self._statement(decoded, self._files['train'][0])
    self.stated_channels = self._first_statement if self._agree() else None
    self.units = tuple(units.get(name, '') for name in self.channels)
    if not any(self.units) and len(units) == len(self.channels) == count:  # renamed by the configuration
      self.units = tuple(units.values())

  def _first_jpeg2000(self) -> str:
    """The first JPEG 2000 of the training split, '' where there is none: all have the same dtype."""
    every = (name for image in self._files['train'] for name in _files_of(image))
    return next((name for name in every if name.lower().endswith(image_formats.JPEG2000)), '')

  def _first(self) -> Decoded:
    """The first training image that can be read, or a later one if only that names its channels.

    Building the cache reports those that cannot be read.
    """
    images = self._files['train']
    first = first_readable(self._decode, images)
    if not (first.names or first.color):
      for image in (images[len(images) // 2], images[-1]):
        with contextlib.suppress(UserError):
          other = self._decode(image)
          if other.names and other.pixels.shape[-1] == first.pixels.shape[-1]:
            return other
    return first

  def _statement(self, decoded: Decoded, image: str | BandFiles) -> Statement:
    """What a training file calls its channels; channels.txt counts only where the configuration overrides it."""
    if self._bands:
      return Statement(OWN, self._bands)
    listing = self._listing(image) if self._given else None
    return Statement.of(decoded.pixels.shape[-1], listing.names if listing else (), decoded.names, decoded.color)

  def _agree(self) -> bool:
    """Whether the first, a middle and the last training file agree where the configuration renames their channels."""
    images = self._files['train']
    if not self._given or self._bands:
      return True
    stated = set()
    for image in (images[0], images[len(images) // 2], images[-1]):
      try:
        stated.add(self._statement(self._decode(image), image))
      except UserError:  # building the cache reports those that cannot be read
        continue
    return stated <= {self._first_statement}

  def _decode(self, image: str | BandFiles) -> Decoded:
    if isinstance(image, BandFiles):
      return band_files.read_bands(image, self.root, self.reading, self._renamed)
    return read_image(os.path.join(self.root, image), self.reading)

  def _listing(self, image: str | BandFiles) -> names.Listing | None:
    return self._listings[self._inside(os.path.dirname(_files_of(image)[0]))]

  def _inside(self, folder: str) -> str:
    """The absolute path of an image's folder; the root for an image outside of it."""
    path = os.path.normpath(os.path.join(self.root, folder))
    return path if path == self.root or path.startswith(f'{self.root}{os.sep}') else self.root


def _files_of(image: str | BandFiles) -> list[str]:
  return list(image.files.values()) if isinstance(image, BandFiles) else [image]


def _called(image: str | BandFiles) -> str:
  """The path of an image's file; if its bands have a file each, the path without the band."""
  return image.example_id + os.path.splitext(_files_of(image)[0])[1] if isinstance(image, BandFiles) else image


@register('folder', FolderOptions, title='image files')
def open_folder_source(data: DataOptions, own: FolderOptions) -> FolderSource:
  return FolderSource(data.path, data.reading, data.names, own, data.group_by)

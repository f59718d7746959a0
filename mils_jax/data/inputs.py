"""Images to classify: a file, a folder or arrays, each image with the names of its own channels."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mils_jax.data.sources import band_files, image_formats, names, npy
from mils_jax.data.sources.band_files import BandFiles
from mils_jax.data.sources.images import read_image
from mils_jax.data.sources.names import ALPHA, GREY, RGB
from mils_jax.data.sources.pictures import GREY_AS_RGB
from mils_jax.data.sources.pixels import Decoded, Reading, channels_last, without_nodata
from mils_jax.data.sources.source import Statement
from mils_jax.errors import UserError, one_line


@dataclasses.dataclass(frozen=True)
class ModelChannels:
  """The channels of a model, and those of its training data.

  Attributes:
    inputs: names of its input channels.
    data: names of the training data's channels, in their order; empty: the input channels.
    flagged: whether the run's configuration named them, which overrides the training files.
    stated_channels: what the training files call their channels; None: not stored.
  """

  inputs: tuple[str, ...]
  data: tuple[str, ...] = ()
  flagged: bool = False
  stated_channels: Statement | None = None

  def renamed(self, images: Sequence[str | BandFiles]) -> dict[str, str]:
    """The channel of each band that has its own file, by order, where the training files' names were not stored."""
    return band_files.renamed(images, self.data) if self.flagged and self.stated_channels is None else {}


def open_inputs(paths: Sequence[str], reading: Reading, channels: ModelChannels = ModelChannels(()),
                bands: str = band_files.AUTO) -> 'Inputs':
  """Opens files or folders of images.

  Args:
    paths: one or more images, or one folder of images (with its subfolders), one `.npy` with one image or with
      (N, H, W, C), or one `.npz` with `images` or `<split>_images`.
    reading: how files become arrays, as in training.
    channels: channels of the model that is to classify them.
    bands: value of data.folder.band_files.

  Raises:
    UserError: a path does not exist, holds no image, or is none of these.
  """
  for path in paths:
    if not os.path.exists(path):
      raise UserError(f'--input {path}: no such file or folder')
  path = paths[0]
  if len(paths) == 1 and os.path.isdir(path):
    return _folder(path, reading, channels, bands)
  if len(paths) == 1 and image_formats.suffix(path) in ('.npy', '.npz'):
    loaded = _load(path)
    if isinstance(loaded, np.lib.npyio.NpzFile) or loaded.ndim == 4:  # even if the file is called .npy
      return ImageArrays(path, loaded, reading)
    if image_formats.suffix(path) == '.npz':
      raise UserError(f'--input {path}: no .npz but one array of the shape {loaded.shape}; call an image .npy')
  for one in paths:
    if os.path.isdir(one) or image_formats.suffix(one) == '.npz':
      raise UserError(f'--input {one}: expected image files where there are several; a folder or an .npz comes alone')
    if not image_formats.is_image(one):
      raise UserError(f'--input {one}: no image that can be read. Valid: {image_formats.listed()}, .npz')
  return ImageFiles(*_put_together(paths, bands), '', reading, channels)


def _folder(path: str, reading: Reading, channels: ModelChannels, bands: str) -> 'ImageFiles':
  """The images of a folder, including files that are named like images but cannot be read here."""
  found, others = image_formats.images_beneath(path, path.rstrip('/') or '/')
  found = sorted([*found, *(name for name in others if image_formats.is_image(name))])
  if not found:
    raise UserError(f'--input {path}: no images in it. Valid: {image_formats.listed()}')
  skipped = [name for name in others
             if not image_formats.is_image(name) and os.path.basename(name) != names.CHANNELS_FILE]
  notes = []
  if skipped:
    notes.append(f'left out, because they are no images: {image_formats.by_suffix(skipped)}, such as {skipped[0]}')
  images, apart = _put_together(found, bands)
  return ImageFiles(images, [*notes, *apart], path, reading, channels)


def _put_together(files: Sequence[str], bands: str) -> tuple[list[str | BandFiles], list[str]]:
  """The images, each as one file or as the files of its bands, and notes on bands left out or separate."""
  images, _, coarser = band_files.grouped(files, band_files.pattern_of(bands, files))
  apart = not band_files.band_names(images) and band_files.looks_like_bands(files)
  return images, [*band_files.left_out(coarser), *([band_files.APART] if apart else [])]


class ImageFiles:
  """Image files, or groups of the files of an image's bands; the nearest `channels.txt` names their channels.

  It is searched from a file's own folder up to `root` ('': the file's own folder), and above it where `root` is a part
  of a dataset, such as its test folder.

  Attributes:
    example_ids: path of each image's file.
    notes: notes on what was left out or assumed.
  """

  def __init__(self, images: Sequence[str | BandFiles], notes: Sequence[str], root: str, reading: Reading,
               channels: ModelChannels):
    self._images = images
    self._bands = band_files.band_names(images)
    self._renamed = channels.renamed(images)
    self._reading = reading
    self.example_ids: Sequence[str] = [image.example_id if isinstance(image, BandFiles) else image for image in images]
    folders = {os.path.dirname(os.path.abspath(example_id)) for example_id in self.example_ids}
    tops = [os.path.abspath(root)] if root else sorted(folders)
    self._listings = {folder: listing for top in tops for folder, listing in names.listings(
        [folder for folder in folders if folder == top or root], top, beyond=True).items()}
    beyond = sorted({one.path for one in self._listings.values() if one is not None
                     and not any(os.path.dirname(one.path).startswith(top) for top in tops)})
    self.notes: tuple[str, ...] = (*notes, *(f'{path} names the channels' for path in beyond))

  def read(self, index: int) -> tuple[Decoded, names.Listing | None]:
    """One image, and what lists its channels; raises UserError where it cannot be read."""
    image = self._images[index]
    listing = self._listings[os.path.dirname(os.path.abspath(self.example_ids[index]))]
    if isinstance(image, BandFiles):
      decoded = band_files.read_bands(image, '', self._reading, self._renamed)
    else:
      if not image_formats.is_readable(image):
        valid = ', '.join(image_formats.COMMON)
        raise UserError(f'{image}: is of a format that is not read here. Valid: {valid} and others')
      decoded = read_image(image, self._reading)
      band_files.check_apart(decoded, listing, self._bands, image)
    return decoded, listing


class ImageArrays:
  """The images of an `.npy` (N, H, W, C), or of an `.npz`, whose `channels` (or `bands`) name their channels.

  Attributes:
    example_ids: of each image, the name of its array and its index there.
    notes: none.
  """

  notes: tuple[str, ...] = ()

  def __init__(self, path: str, loaded: np.ndarray | np.lib.npyio.NpzFile, reading: Reading):
    self._path = path
    self._reading = reading
    self._listing: names.Listing | None = None
    if isinstance(loaded, np.lib.npyio.NpzFile):
      with loaded:
        arrays = {name: npy.load(path, name) for name in loaded.files
                  if name == 'images' or name.endswith('_images')}
        named = [name for name in ('channels', 'bands') if name in loaded.files]
        if not arrays:
          raise UserError(f'{path}: no images in it. Expected an array images, or <split>_images; it holds '
                          f'{", ".join(loaded.files) or "nothing"}')
        if named:
          texts = np.atleast_1d(npy.load(path, named[0]))
          if texts.ndim != 1:
            raise UserError(f'{path}: {named[0]} has the shape {texts.shape}; expected a list of names')
          listed = tuple(str(name) for name in texts)
          names.check_different(listed, path)
          self._listing = names.Listing(path, listed, ('',) * len(listed))
    else:
      arrays = {Path(path).stem: loaded}
    for name, array in arrays.items():
      if array.ndim not in (3, 4) or array.dtype.kind not in 'buif':
        raise UserError(f'{path}: {name} has the shape {array.shape} of {array.dtype}; expected numbers (N, H, W, C) '
                        'or (N, H, W)')
    arrays = {name: array for name, array in arrays.items() if array.size}  # an empty array can have any length
    self._images = [(array, row) for array in arrays.values() for row in range(len(array))]
    self.example_ids: Sequence[str] = [f'{name}[{row}]' for name, array in arrays.items() for row in range(len(array))]
    if not self.example_ids:
      raise UserError(f'{path}: holds no images')

  def read(self, index: int) -> tuple[Decoded, names.Listing | None]:
    """One image, and what lists its channels; raises UserError where it cannot be read."""
    array, row = self._images[index]
    image = channels_last(array[row], self._reading.channel_axis, self.example_ids[index])
    return Decoded(without_nodata(image, self._reading.nodata)), self._listing


Inputs = ImageFiles | ImageArrays


def fit(decoded: Decoded, listing: names.Listing | None, channels: ModelChannels
        ) -> tuple[np.ndarray, list[str | None], list[str]]:
  """Decides which input channel each channel of an image goes to, by the same rule as training.

  Args:
    decoded: the image.
    listing: the channels.txt, or a similar list, that names its channels.
    channels: channels of the model.

  Returns:
    The image, the input channel of each of its channels (None: left out), and notes on what was assumed.

  Raises:
    UserError: the model has none of the channels, or there are more channels than anything names.
  """
  known, input_channels = channels.data or channels.inputs, channels.inputs
  image, notes, color = decoded.pixels, list(decoded.notes), decoded.color
  count = image.shape[-1]
  if (listing is None and color in ((GREY,), (GREY, ALPHA)) and GREY not in known and set(RGB) <= set(input_channels)
      and count != len(known)):
    image, color = image[..., [0, 0, *range(count)]], (*RGB, *color[1:])
    notes.append(GREY_AS_RGB)
    count = image.shape[-1]
  own, note = names.assign(count, known, listing.names if listing else (), decoded.names, color,
                           channels.flagged, channels.stated_channels)
  if note:
    notes.append(note)
  without = [name for name in own if name not in input_channels]
  if len(without) == len(own):
    raise UserError(f'its channels are {", ".join(own)}, the model\'s {", ".join(input_channels)}: none fits. '
                    '--channels names them')
  if without:
    notes.append(f'left out, because the model has no channel of this name: {", ".join(without)}')
  return image, [name if name in input_channels else None for name in own], notes


def settled_reading(reading: Reading, data_channels: Sequence[str]) -> Reading:
  """How images are read for a model: in colour or in grey, like its training data."""
  if reading.color != 'auto':
    return reading
  return dataclasses.replace(reading, color='grey' if len(data_channels) == 1 else 'rgb')


def _load(path: str) -> np.ndarray | np.lib.npyio.NpzFile:
  try:
    return np.load(path, mmap_mode='r', allow_pickle=False)
  except Exception as error:  # a damaged file makes zip and NumPy raise anything at all
    raise UserError(f'{path}: does not load: {one_line(error)}') from error

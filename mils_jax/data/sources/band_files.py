"""Images whose channels lie in a file each, as satellites' bands do: found by the names of the files."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mils_jax.data.sources.images import read_image
from mils_jax.data.sources.pixels import Decoded, Reading
from mils_jax.errors import UserError

AUTO, OFF = 'auto', 'none'
# tile0_B02.tif, T32UMD_20200101_B8A_20m.jp2 (Sentinel-2); LC08_..._SR_B4.TIF, LC08_..._B10.TIF (Landsat)
_SATELLITES = re.compile(r'(?P<image>.+)_(?P<band>(?:SR_|ST_)?B(?:[0-9]{1,2}|8A))(?P<rest>_[0-9]{2}m)?\.(?:tiff?|jp2)',
                         re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class BandFiles:
  """The files of one image.

  Attributes:
    example_id: the files' common path, without band and suffix.
    files: the path of each band's file, by the name of the band.
  """

  example_id: str
  files: dict[str, str]


def pattern_of(setting: str) -> re.Pattern | None:
  """What data.folder.band_files asks for; None where bands are not looked for.

  Raises:
    UserError: it is no pattern with {image} and {band} in it.
  """
  if setting == OFF:
    return None
  if setting == AUTO:
    return _SATELLITES
  if setting.count('{image}') != 1 or setting.count('{band}') != 1:
    raise UserError(f"data.folder.band_files='{setting}': expected {AUTO}, {OFF}, or a pattern of the files' names "
                    "with {image} and {band} in it, such as '{image}_{band}.tif'")
  escaped = re.escape(setting).replace(re.escape('{image}'), '(?P<image>.+)').replace(re.escape('{band}'),
                                                                                      '(?P<band>[^/]+?)')
  return re.compile(escaped)


def grouped(files: Sequence[str], pattern: re.Pattern | None) -> tuple[list[str | BandFiles], list[int]]:
  """Files of one band each put together as images, at the place of the first.

  Args:
    files: relative paths.
    pattern: of `pattern_of`.

  Returns:
    The images, and the row of the first file of each.

  Raises:
    UserError: two files are the same band of the same image.
  """
  if pattern is None or not files:
    return list(files), list(range(len(files)))
  if pattern is _SATELLITES and not all(pattern.fullmatch(path.rpartition('/')[2]) for path in files):
    return list(files), list(range(len(files)))  # a name alone, such as a well's B2, is no evidence
  images: dict[str, dict[str, str]] = {}
  first: dict[str, int] = {}
  for row, path in enumerate(files):
    folder, slash, name = path.rpartition('/')
    match = pattern.fullmatch(name)
    image = f'{folder}{slash}{match["image"]}' if match else path
    band = match['band'].upper() if match and pattern is _SATELLITES else match['band'] if match else ''
    bands = images.setdefault(image, {})
    if band in bands:
      raise UserError(f'{path}: the band {band} of {image} twice, as {bands[band]} too; expected one file for each')
    bands[band] = path
    first.setdefault(image, row)
  return ([bands[''] if '' in bands else BandFiles(image, {band: bands[band] for band in sorted(bands, key=_natural)})
           for image, bands in images.items()],
          list(first.values()))


def band_names(images: Iterable[str | BandFiles]) -> tuple[str, ...]:
  """All bands of the images, B2 before B10."""
  found = {band for image in images if isinstance(image, BandFiles) for band in image.files}
  return tuple(sorted(found, key=_natural))


def renamed(images: Iterable[str | BandFiles], given: Sequence[str]) -> dict[str, str]:
  """What the configuration calls each band, by the band; nothing where it does not name as many as there are."""
  bands = band_names(images)
  return dict(zip(bands, given, strict=True)) if len(bands) == len(given) else {}


def _natural(band: str) -> list:
  """Sorts B2 before B10."""
  return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split('([0-9]+)', band)]


def looks_like_bands(files: Iterable[str]) -> bool:
  """Whether files that were not put together are called like bands of the same images."""
  seen: set[str] = set()
  for path in files:
    if not path.lower().endswith(('.tif', '.tiff', '.jp2')):
      continue
    match = _SATELLITES.fullmatch(path.rpartition('/')[2])
    if match:
      image = f'{path.rpartition("/")[0]}/{match["image"]}'
      if image in seen:
        return True
      seen.add(image)
  return False


def read_bands(image: BandFiles, root: str, reading: Reading, names: Mapping[str, str]) -> Decoded:
  """All bands of an image as its channels, which `names` may call otherwise.

  Raises:
    UserError: a file cannot be read or holds several channels, or they differ in size or dtype.
  """
  reading = dataclasses.replace(reading, color='as_is')
  parts = {band: read_image(f'{root}/{path}' if root else path, reading) for band, path in image.files.items()}
  first = next(iter(parts.values())).pixels
  for band, part in parts.items():
    if part.pixels.shape[-1] != 1:
      raise UserError(f'{image.files[band]}: {part.pixels.shape[-1]} channels in the file of the band {band}; expected '
                      'one')
    if part.pixels.shape != first.shape:
      raise UserError(f'{image.files[band]}: {part.pixels.shape[0]} x {part.pixels.shape[1]} pixels, but another band '
                      f'has {first.shape[0]} x {first.shape[1]}; data.image_size brings all to one size')
    if part.pixels.dtype != first.dtype:
      raise UserError(f'{image.files[band]}: dtype {part.pixels.dtype}, but another band has {first.dtype}')
  masked = any(isinstance(part.pixels, np.ma.MaskedArray) for part in parts.values())
  join = np.ma.concatenate if masked else np.concatenate
  notes = tuple(dict.fromkeys(note for part in parts.values() for note in part.notes))
  return Decoded(join([part.pixels for part in parts.values()], axis=-1),
                 names=tuple(names.get(band, band) for band in parts), notes=notes)

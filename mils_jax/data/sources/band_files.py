"""Images with one file per channel, as for satellite bands: grouped by the names of the files."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mils_jax.data.sources.grouping import as_regex
from mils_jax.data.sources.images import read_image
from mils_jax.data.sources.names import Listing
from mils_jax.data.sources.pixels import Decoded, Reading
from mils_jax.errors import UserError

AUTO, OFF = 'auto', 'none'
# tile0_B02.tif, T32UMD_20200101_B8A_20m.jp2 (Sentinel-2); LC08_..._SR_B4.TIF, LC08_..._B10.TIF (Landsat)
_SATELLITES = re.compile(r'(?P<image>.+)_(?P<band>(?:SR_|ST_)?B(?:[0-9]{1,2}|8A))(?P<rest>_[0-9]{2}m)?\.(?i:tiff?|jp2)')
_LIKE_SATELLITES = re.compile(_SATELLITES.pattern, re.IGNORECASE)  # patient0_b1.tif: only worth a note
_RESOLUTION = re.compile('(?:^|(?<=/))R[0-9]{2}m/$')  # a folder of Sentinel-2: R10m and R20m hold bands of one image
_METRES = re.compile(r'(?:^|/)R([0-9]{2})m/[^/]+$|_([0-9]{2})m\.[^./]+$')  # R20m/T_B02.jp2, T_B02_20m.jp2
_MOST = 0.75  # share of files that must be named like bands where the names alone decide
APART = ('some files are called like single bands of the same images, such as x_B02.tif; '
         "data.folder.band_files='{image}_{band}.tif' puts them together")


@dataclasses.dataclass(frozen=True)
class BandFiles:
  """The files of one image.

  Attributes:
    example_id: common path of the files, without band and suffix.
    files: path of each band's file, by the name of the band.
  """

  example_id: str
  files: dict[str, str]


def pattern_of(setting: str, files: Sequence[str]) -> re.Pattern | None:
  """The pattern that data.folder.band_files means for the files of all splits; None where each file is an image.

  Raises:
    UserError: the setting is no pattern with {image} and {band} in it.
  """
  if setting == OFF:
    return None
  if setting == AUTO:
    return _SATELLITES if _are_bands(files) else None
  if setting.count('{image}') != 1 or setting.count('{band}') != 1:
    raise UserError(f"data.folder.band_files='{setting}': expected {AUTO}, {OFF}, or a pattern of the files' names "
                    "with {image} and {band} in it, such as '{image}_{band}.tif'")
  return re.compile(as_regex(setting, {'{image}': '(?P<image>.+)', '{band}': '(?P<band>[^/]+?)'}))


def _are_bands(files: Sequence[str]) -> bool:
  """Whether most files are named like bands, and most of their images have the same bands.

  A single such name, for example of a well B2, is no evidence; nor is one odd file, such as a preview, evidence against
  it.
  """
  bands: dict[str, set[str]] = {}
  named = 0
  for path in files:
    found = _parts(path, _SATELLITES)
    if found:
      bands.setdefault(found[0], set()).add(found[1])
      named += 1
  if not named or named < _MOST * len(files):
    return False
  alike = collections.Counter(map(frozenset, bands.values())).most_common(1)[0][1]
  return 2 * alike >= len(bands)


def _parts(path: str, pattern: re.Pattern) -> tuple[str, str] | None:
  """The image that a file is a band of, and the band; None where its name does not match."""
  name = path.rpartition('/')[2]
  match = pattern.fullmatch(name)
  folder = path[:len(path) - len(name)]
  if pattern is _SATELLITES:
    folder = _RESOLUTION.sub('', folder)
  return (f'{folder}{match["image"]}', match['band']) if match else None


def grouped(files: Sequence[str], pattern: re.Pattern | None
            ) -> tuple[list[str | BandFiles], list[int], dict[str, list[str]]]:
  """Groups files of one band each into images, in the position of the first file.

  Args:
    files: relative paths.
    pattern: what `pattern_of` returned.

  Returns:
    The images, the row of the first file of each, and by image the files that were left out: bands of Sentinel-2 that
    are there at a finer resolution too.

  Raises:
    UserError: two files are the same band of the same image at the same resolution.
  """
  if pattern is None or not files:
    return list(files), list(range(len(files))), {}
  images: dict[str, dict[str, str]] = {}
  first: dict[str, int] = {}
  coarser: dict[str, list[str]] = {}
  for row, path in enumerate(files):
    image, band = _parts(path, pattern) or (path, '')
    bands = images.setdefault(image, {})
    if band in bands:
      metres, other = (_metres(file) if pattern is _SATELLITES else 0 for file in (path, bands[band]))
      if metres == other or not (metres and other):
        raise UserError(f'{path}: the band {band} of {image} twice, as {bands[band]} too; expected one file for each')
      coarser.setdefault(image, []).append(path if metres > other else bands[band])
      path = bands[band] if metres > other else path
    bands[band] = path
    first.setdefault(image, row)
  return ([bands[''] if '' in bands else BandFiles(image, {band: bands[band] for band in sorted(bands, key=_natural)})
           for image, bands in images.items()],
          list(first.values()), coarser)


def left_out(coarser: Mapping[str, Sequence[str]]) -> list[str]:
  """A note on the files that `grouped` left out, if there are any."""
  files = [path for paths in coarser.values() for path in paths]
  return [f'left out, because the same bands are there at a finer resolution: {len(files)} files, such as {files[0]}'
          ] if files else []


def _metres(path: str) -> int:
  """The resolution that a file of Sentinel-2 is called after; 0 where its name states none."""
  found = _METRES.search(path)
  return int(found[1] or found[2]) if found else 0


def band_names(images: Iterable[str | BandFiles]) -> tuple[str, ...]:
  """All bands of the images, B2 before B10."""
  found = {band for image in images if isinstance(image, BandFiles) for band in image.files}
  return tuple(sorted(found, key=_natural))


def renamed(images: Iterable[str | BandFiles], given: Sequence[str]) -> dict[str, str]:
  """The configured name of each band, by the band; empty where the number of names differs."""
  bands = band_names(images)
  return dict(zip(bands, given, strict=True)) if len(bands) == len(given) else {}


def _natural(band: str) -> list:
  """Sorts B2 before B10."""
  return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split('([0-9]+)', band)]


def looks_like_bands(files: Iterable[str]) -> bool:
  """Whether files that were not grouped are named like bands of the same images."""
  seen: set[str] = set()
  for path in files:
    if not path.lower().endswith(('.tif', '.tiff', '.jp2')):
      continue
    found = _parts(path, _LIKE_SATELLITES)
    if found:
      if found[0] in seen:
        return True
      seen.add(found[0])
  return False


def check_apart(decoded: Decoded, listing: Listing | None, bands: Sequence[str], where: str) -> None:
  """Raises UserError for an image with one unnamed channel among images that are grouped from bands."""
  if bands and decoded.pixels.shape[-1] == 1 and not decoded.names and not (listing and len(listing.names) == 1):
    raise UserError(f'{where}: one channel without a name, beside images with a file for each band '
                    f'({", ".join(bands)}); expected it to be called like them (data.skip_damaged=true leaves such '
                    'files out, data.folder.band_files=none makes every file an image)')


def read_bands(image: BandFiles, root: str, reading: Reading, names: Mapping[str, str]) -> Decoded:
  """Reads all bands of an image as its channels, which `names` may rename.

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
                 names=tuple(names.get(band, band) for band in parts), notes=notes,
                 size=next(iter(parts.values())).size)

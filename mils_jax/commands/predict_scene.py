"""Classifies a whole scene tile by tile: from a georeferenced raster to maps of classes and probabilities.

Each pixel gets the mean probabilities of the tiles that cover it. Only a block of the scene and its tiles are in
memory, whatever the size of the scene.
"""

import colorsys
import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mils_jax.classifier import BATCH, Classifier, not_finite
from mils_jax.commands import Request
from mils_jax.data.inputs import fit
from mils_jax.data.scene import Block, Scene, blocks, import_rasterio
from mils_jax.errors import UserError
from mils_jax.files import replaced
from mils_jax.progress import bar, counted, log_lines
from mils_jax.restore import restore

NOTHING = 255  # class of pixels without data, and so the largest number of classes
QUICK_LOOK = 1000  # longer side in pixels
_SWATCH, _LINE, _LEGEND = 12, 18, 260  # sizes of the legend, in pixels


@dataclasses.dataclass
class SceneMaps:
  """The maps of a scene.

  Attributes:
    classes: the map of classes, a GeoTIFF.
    probabilities: the map of probabilities, a GeoTIFF.
    quick_look: a small image of the classes with their legend.
    counts: (classes,) number of pixels of each class.
    empty: number of pixels without data.
    tiles: number of classified tiles.
    notes: notes on what was assumed, without repetitions.
  """

  classes: Path
  probabilities: Path
  quick_look: Path
  counts: np.ndarray
  empty: int = 0
  tiles: int = 0
  notes: dict[str, None] = dataclasses.field(default_factory=dict)

  def lines(self, names: tuple[str, ...]) -> list[str]:
    """The lines to print about the maps."""
    total = max(int(self.counts.sum()), 1)
    most = ', '.join(f'{names[label]} {self.counts[label] / total:.1%}' for label in np.argsort(-self.counts)[:5]
                     if self.counts[label])
    return [*self.notes, f'{counted(self.tiles, "tile")} classified; of {counted(total, "pixel")}, {most}',
            *([f'{counted(self.empty, "pixel has", "pixels have")} no data and no class'] if self.empty else []),
            f'saved as {self.classes}, {self.probabilities} and {self.quick_look}']


def run(request: Request) -> None:
  """Classifies the scene in --input and prints the results."""
  given, config = request.flags, request.config
  tile = request.number('tile')
  stride = request.number('stride', high=tile) if given['stride'] else tile
  if len(given['input']) != 1:
    raise UserError(f'--tile classifies one scene; --input names {len(given["input"])}')
  classifier = Classifier(restore(request.folder, config), request.folder.path)
  target = (Path(given['output']) if given['output'] else
            _unused(request.folder.path, f'{Path(given["input"][0]).stem}-classes'))
  if target.suffix.lower() not in ('.tif', '.tiff') or not target.parent.is_dir():
    raise UserError(f'--output {target}: expected a file .tif in a folder that exists')
  raster = Path(given['input'][0])
  for path in _targets(target):
    if raster.exists() and path.exists() and path.samefile(raster):
      raise UserError(f'--output {target}: would write {path} over the scene itself; expected another name')
    if path.exists() and not target.exists():
      raise UserError(f'--output {target}: {path}, which would be written too, exists; expected another name')
  if given['channels']:
    classifier.missing(given['channels'])  # raises for names that do not fit, before anything is read
  with contextlib.closing(Scene(given['input'][0], config.data.reading)) as scene:
    maps = classify_scene(classifier, scene, tile, stride, target, given['channels'], given['all_classes'])
  log_lines(maps.lines(classifier.classes))


def _unused(folder: Path, name: str) -> Path:
  """The first of name.tif, name-2.tif, ... of which no map exists, as scenes of two folders may share a name."""
  stems = itertools.chain([name], (f'{name}-{number}' for number in itertools.count(2)))
  targets = (folder / f'{stem}.tif' for stem in stems)
  return next(target for target in targets if not any(path.exists() for path in _targets(target)))


def _targets(target: Path) -> tuple[Path, Path, Path]:
  """Paths of the map of classes, the map of probabilities, and the quick look."""
  return target, target.with_name(f'{target.stem}-probability.tif'), target.with_suffix('.png')


def classify_scene(classifier: Classifier, scene: Scene, tile: int, stride: int, target: Path, channels: str = '',
                   all_classes: bool = False) -> SceneMaps:
  """Writes the maps of a scene beside each other: x.tif, x-probability.tif and x.png.

  Args:
    classifier: the model for the tiles.
    scene: the open scene.
    tile, stride: side of a tile in pixels, and distance from one tile to the next, at most the side of a tile.
    target: path of the map of classes.
    channels: names of the scene's channels; '': those in the file.
    all_classes: write the probability of every class, not only that of the most probable one.

  Raises:
    UserError: the scene's channels do not fit the model, or no pixel has data.
  """
  if len(classifier.classes) >= NOTHING:
    raise UserError(f'{len(classifier.classes)} classes; a map holds fewer than {NOTHING}')
  number = len(classifier.classes)
  maps = SceneMaps(*_targets(target), np.zeros(number, np.int64), notes=dict.fromkeys(scene.notes))
  bands = number if all_classes else 1
  with contextlib.ExitStack() as stack:
    labels, probabilities = (
        stack.enter_context(_new_map(path, scene, count, dtype, nodata)) for path, count, dtype, nodata in (
            (maps.classes, 1, 'uint8', NOTHING), (maps.probabilities, bands, 'float32', np.nan)))
    _describe(labels, probabilities, classifier.classes, all_classes)
    parts = list(blocks(scene.height, scene.width, tile, stride))
    advance = stack.enter_context(bar('classifying', sum(len(part.corners) for part in parts), 'tiles'))
    for part in parts:
      mean = _mean_probabilities(classifier, scene, part, tile, channels, maps, advance)
      empty = np.isnan(mean[..., 0])
      best = np.where(empty, NOTHING, mean.argmax(-1)).astype(np.uint8)
      labels.write(best, 1, window=(part.rows, part.columns))
      shown = np.moveaxis(mean, -1, 0) if all_classes else mean.max(-1)[None]
      probabilities.write(shown.astype(np.float32), window=(part.rows, part.columns))
      maps.counts += np.bincount(best[~empty], minlength=number)
      maps.empty += int(empty.sum())
    if not maps.tiles:
      raise UserError(f'{scene.path}: no pixel has any data')
  _write_quick_look(maps, classifier.classes)
  return maps


def _mean_probabilities(classifier: Classifier, scene: Scene, part: Block, tile: int, channels: str,
                        maps: SceneMaps, advance: Any) -> np.ndarray:
  """Mean probabilities (H, W, classes) of a block, NaN where there is no data."""
  top, left = part.row_starts[0], part.column_starts[0]
  decoded = scene.read((top, part.row_starts[-1] + tile), (left, part.column_starts[-1] + tile))
  image, names = decoded.pixels, channels
  if not channels:
    image, names, notes = fit(decoded, scene.listing, classifier.model_channels)
    maps.notes.update(dict.fromkeys(notes))
  there = np.asarray(~np.ma.getmaskarray(image).all(-1))  # (h, w), the pixels that were read
  total = np.zeros((*there.shape, len(classifier.classes)), np.float32)
  number = np.zeros(there.shape, np.float32)
  corners = [(row - top, column - left) for row, column in part.corners
             if there[row - top:row - top + tile, column - left:column - left + tile].any()]
  for start in range(0, len(corners), BATCH):
    some = corners[start:start + BATCH]
    placed = [classifier.place(image[row:row + tile, column:column + tile], names) for row, column in some]
    for values, present in placed:
      unusual = classifier.spec.unusual(values, present)
      maps.notes.update({unusual: None} if unusual else {})
    found = np.asarray(classifier.probabilities(placed, BATCH))
    for (row, column), probability, (values, _) in zip(some, found, placed, strict=False):  # the rest is padding
      if not np.isfinite(probability).all():
        maps.notes.update({f'a tile left out: {not_finite(values)}': None})
        continue
      total[row:row + tile, column:column + tile] += probability
      number[row:row + tile, column:column + tile] += 1
    advance(len(some))
  advance(len(part.corners) - len(corners))
  maps.tiles += len(corners)
  inside = (slice(part.rows[0] - top, part.rows[1] - top), slice(part.columns[0] - left, part.columns[1] - left))
  mean = total[inside] / np.maximum(number[inside], 1)[..., None]
  return np.where((there & (number > 0))[inside][..., None], mean, np.nan)


@contextlib.contextmanager
def _new_map(path: Path, scene: Scene, count: int, dtype: str, nodata: float) -> Iterator[Any]:
  """Creates a GeoTIFF with the scene's georeference, and writes it atomically."""
  rasterio = import_rasterio()
  with (replaced(path) as unfinished,
        rasterio.open(unfinished, 'w', driver='GTiff', height=scene.height, width=scene.width, count=count, dtype=dtype,
                      nodata=nodata, tiled=True, blockxsize=256, blockysize=256, compress='deflate', bigtiff='if_safer',
                      **scene.profile) as file):
    yield file


def _describe(labels: Any, probabilities: Any, classes: tuple[str, ...], all_classes: bool) -> None:
  """Writes names and colours of the classes where GIS programs expect them."""
  labels.set_band_description(1, 'class')
  labels.write_colormap(1, {label: (*colour, 255) for label, colour in enumerate(_colours(len(classes)))})
  labels.update_tags(1, **{f'class_{label}': name for label, name in enumerate(classes)})
  for band, name in enumerate(classes if all_classes else ('probability of the class',), 1):
    probabilities.set_band_description(band, name)


def _colours(number: int) -> list[tuple[int, int, int]]:
  """Distinct colours, which also differ from their neighbours in the list."""
  colours = []
  for label in range(number):
    hue = label * 0.618034 % 1  # by the golden ratio: far apart, however many there are
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.8 if label % 2 else 0.55, 0.9 if label % 3 else 0.65)
    colours.append((round(255 * red), round(255 * green), round(255 * blue)))
  return colours


def _write_quick_look(maps: SceneMaps, classes: tuple[str, ...]) -> None:
  """Writes a reduced map of classes, with a legend of those that occur."""
  rasterio = import_rasterio()
  with rasterio.open(maps.classes) as file:
    scale = max(1, max(file.height, file.width) / QUICK_LOOK)
    shape = (max(1, round(file.height / scale)), max(1, round(file.width / scale)))
    labels = file.read(1, out_shape=shape)
  colours = np.array([*_colours(len(classes)), *[(255, 255, 255)] * (256 - len(classes))], np.uint8)
  shown = [label for label in np.argsort(-maps.counts) if maps.counts[label]]
  sheet = Image.new('RGB', (shape[1] + _LEGEND, max(shape[0], _LINE * (len(shown) + 1))), 'white')
  sheet.paste(Image.fromarray(colours[labels]), (0, 0))
  pen = ImageDraw.Draw(sheet)
  for line, label in enumerate(shown):
    left, top = shape[1] + 10, 6 + _LINE * line
    pen.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=tuple(colours[label].tolist()), outline='black')
    pen.text((left + 20, top), f'{classes[label][:28]}  {maps.counts[label] / maps.counts.sum():.1%}', fill='black')
  with replaced(maps.quick_look) as unfinished:
    sheet.save(unfinished, 'PNG')

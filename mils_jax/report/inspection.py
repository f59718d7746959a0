"""An inspection as lines to read and sheets to look at."""

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mils_jax.data.cache.dataset import CachedDataset
from mils_jax.data.inspection import Inspection
from mils_jax.data.sources.source import SPLITS

SAMPLES = 6  # images of each class on its sheet
TILE = 96  # least side of an image on a sheet, in pixels
_GAP = 4
_TITLE = 14  # height of the line of text over the columns
_COLOURS = (('r', 'g', 'b'), ('red', 'green', 'blue'))


def write_inspection(inspection: Inspection, packed: CachedDataset, folder: Path) -> list[str]:
  """Writes one sheet of sample training images per class, as PNG, and returns the lines to print.

  Args:
    inspection: of the dataset cache.
    packed: the set.
    folder: gets a folder `sheets`.
  """
  sheets = Path(folder) / 'sheets'
  sheets.mkdir(parents=True, exist_ok=True)
  colours = colour_channels(packed.channels)
  digits = len(str(len(packed.classes) - 1))
  for label, name in enumerate(packed.classes):
    rows = np.flatnonzero(packed.splits['train'].labels == label)
    if len(rows):
      chosen = rows[np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int)]
      file = re.sub(r'[^\w.-]+', '_', name)[:60].strip('_')
      draw_sheet(packed, chosen, colours).save(sheets / f'{label:0{digits}d}-{file}.png')
  return [*describe(inspection, packed), f'sheets of sample images: {sheets}']


def describe(inspection: Inspection, packed: CachedDataset) -> list[str]:
  """The findings as lines of text."""
  height, width, _ = packed.image_shape
  sizes = ', '.join(f'{split} {len(packed.splits[split])}' for split in SPLITS)
  images = packed.splits['train'].images
  lines = [f'{sizes} images of {height} x {width}, {len(packed.channels)} channels of {images.dtype}', '']
  names = [f'{label} {name}'[:40] for label, name in enumerate(packed.classes)]
  lines += _columns(['class', *SPLITS], [[name, *(str(inspection.counts[split][label]) for split in SPLITS)]
                                         for label, name in enumerate(names)])
  lines.append('')
  numbers = [[one.name, *(f'{value:.6g}' for value in (one.minimum, one.maximum, one.mean, one.std)), one.unit]
             for one in inspection.channels]
  lines += _columns(['channel', 'min', 'max', 'mean', 'deviation', 'unit'], numbers)
  lines.append('')
  return lines + ([f'warning: {warning}' for warning in inspection.warnings] or ['no warnings'])


def colour_channels(channels: tuple[str, ...]) -> tuple[int, int, int] | None:
  """Which three channels to show as red, green and blue: those of that name, else the first three, if there are."""
  lower = [name.lower() for name in channels]
  for names in _COLOURS:
    if all(name in lower for name in names):
      return tuple(lower.index(name) for name in names)
  return (0, 1, 2) if len(channels) >= 3 else None


def draw_sheet(packed: CachedDataset, rows: np.ndarray, colours: tuple[int, int, int] | None) -> Image.Image:
  """One line per image: each channel in grey, then three of them as colours.

  Greys run from 2.5 deviations below a channel's mean to 2.5 above, within the values of the training split, the same
  for every sheet of a set.
  """
  height, width, count = packed.image_shape
  scale = max(1, -(-TILE // min(height, width)))
  titles = [*packed.channels, *(['/'.join(packed.channels[channel] for channel in colours)] if colours else [])]
  across, down = width * scale + _GAP, height * scale + _GAP
  sheet = Image.new('RGB', (across * len(titles) + _GAP, _TITLE + down * len(rows) + _GAP), 'white')
  for line, row in enumerate(rows):
    levels = to_levels(packed.splits['train'].images[row], packed)  # (H, W, C) uint8
    tiles = [np.repeat(levels[..., channel:channel + 1], 3, -1) for channel in range(count)]
    tiles += [levels[..., list(colours)]] if colours else []
    for column, tile in enumerate(tiles):
      image = Image.fromarray(np.ascontiguousarray(tile))
      image = image.resize((width * scale, height * scale), Image.Resampling.NEAREST)
      sheet.paste(image, (_GAP + across * column, _TITLE + _GAP + down * line))
  pen = ImageDraw.Draw(sheet)
  for column, title in enumerate(titles):
    pen.text((_GAP + across * column, 2), title[:across // 6], imputation='black')
  return sheet


def to_levels(image: np.ndarray, packed: CachedDataset) -> np.ndarray:
  """An image (H, W, C) in levels from 0 to 255: from 2.5 deviations below each channel's mean to 2.5 above."""
  values = np.nan_to_num(image.astype(np.float64), nan=0, posinf=0, neginf=0)
  low, high = packed.mean - 2.5 * packed.std, packed.mean + 2.5 * packed.std
  if image.dtype == np.uint8:
    low, high = np.maximum(low, 0), np.minimum(high, 255)
  return np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def _columns(titles: list[str], rows: list[list[str]]) -> list[str]:
  """Rows of text below their titles: the first column to the left, the others to the right."""
  widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
  lines = []
  for first, *others in [titles, *rows]:
    cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
    lines.append('  '.join(cells).rstrip())
  return lines

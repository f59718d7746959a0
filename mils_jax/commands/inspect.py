"""Shows the contents of a dataset before training on it: statistics, warnings, and sheets of sample images."""

import hashlib
import itertools
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mils_jax import invocation
from mils_jax.build import open_data
from mils_jax.commands import Request
from mils_jax.data.cache.dataset import CachedDataset, Split
from mils_jax.progress import counted, log_lines
from mils_jax.report.text import table_lines
from mils_jax.report.thumbnails import colour_channels, to_levels
from mils_jax.run_config import check_owner, claim

FEW_IMAGES = 10  # training images of a class, below which there is a warning
IMAGES_SAMPLED = 256  # images that are searched for values far from all others
GAP = 2  # distance of a suspicious value from all others, in multiples of their range
GAP_OF_A_MARK = 0.05  # the same for the usual marks
NODATA_MARKS = (-9999, -32768, -32767, -999, -99, -3.4028234663852886e38)
SAMPLES = 6  # images of each class on its sheet
TILE = 96  # smallest side of an image on a sheet, in pixels
_GAP = 4
_TITLE = 14  # height of the line of text above the columns


def run(request: Request) -> None:
  """Inspects the configured dataset and claims the run folder for this configuration."""
  check_owner(request.folder, request.config)
  data = open_data(request.config)
  claim(request.folder, request.config)
  folder = request.folder.path / 'inspection'
  log_lines([*describe(data), f'sheets of sample images: {write_sheets(data, folder)}',
             *invocation.next_lines('train on it', 'train', workdir=request.folder.path)])


def warnings_of(data: CachedDataset) -> list[str]:
  """A sentence for each thing that looks wrong in a dataset cache, whose images it reads."""
  return [*_constant_channels(data), *_nonfinite(data), *_suspicious(data), *_small_classes(data),
          *_shared_images(data)]


def _nonfinite(data: CachedDataset) -> list[str]:
  return [f'{split}: {counted(counts[channel], f"value of channel {name} is", f"values of channel {name} are")} '
          f'non-finite, first in {first[channel]}'
          for split, (counts, first) in data.nonfinite.items() for channel, name in enumerate(data.channels)
          if counts[channel]]


def _suspicious(data: CachedDataset) -> list[str]:
  """A warning for each channel whose smallest or largest value looks like a mark for pixels without data."""
  images = data.splits['train'].images
  some = np.asarray(images[:: max(1, len(images) // IMAGES_SAMPLED)])
  warnings = []
  for channel, name in enumerate(data.channels):
    values = some[..., channel].astype(np.float64)
    values = values[np.isfinite(values)]
    for extreme in {float(data.low[channel]), float(data.high[channel])}:
      others = values[values != extreme]
      if not others.size or not np.isfinite(extreme):
        continue
      lower, upper = others.min(), others.max()
      if lower == upper and extreme not in NODATA_MARKS:  # only two values, as in a black and white image
        continue
      far = max(lower - extreme, extreme - upper) / max(upper - lower, np.finfo(np.float64).tiny)
      if far > GAP or (extreme in NODATA_MARKS and far > GAP_OF_A_MARK):
        warnings.append(f'channel {name}: the value {extreme:.9g} lies apart from all others ({lower:g} to {upper:g}) '
                        f'and may stand for pixels without data; data.nodata={extreme:.9g} leaves them out')
  return warnings


def _constant_channels(data: CachedDataset) -> list[str]:
  return [f'channel {name} is constant ({low:g}) over the training split'
          for name, low, high in zip(data.channels, data.low, data.high, strict=True) if low == high]


def _counts(data: CachedDataset, split: str) -> np.ndarray:
  """(classes,) number of images of each class."""
  return np.bincount(data.splits[split].labels, minlength=len(data.classes))


def _small_classes(data: CachedDataset) -> list[str]:
  counts = _counts(data, 'train')
  small = [f'{data.classes[label]} ({counts[label]})' for label in np.flatnonzero(counts < FEW_IMAGES)]
  if not small:
    return []
  more = f' and {len(small) - 10} more' if len(small) > 10 else ''
  return [f'{counted(len(small), "class has", "classes have")} under {FEW_IMAGES} training images: '
          f'{", ".join(small[:10])}{more}']


def _shared_images(data: CachedDataset) -> list[str]:
  """A warning for each pair of splits with images of the same pixels."""
  hashes = {name: _first_by_hash(split) for name, split in data.splits.items()}
  warnings = []
  for name, other in itertools.combinations(data.splits, 2):
    shared = [key for key in hashes[other] if key in hashes[name]]
    if shared:
      first = data.splits[name].example_ids[hashes[name][shared[0]]]
      second = data.splits[other].example_ids[hashes[other][shared[0]]]
      many = counted(len(shared), f'image of {other} is', f'images of {other} are')
      warnings.append(f'{many} in {name} too, first {second} (as {first})')
  return warnings


def _first_by_hash(split: Split) -> dict[bytes, int]:
  rows: dict[bytes, int] = {}
  for row, image in enumerate(split.images):
    rows.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), row)
  return rows


def describe(data: CachedDataset) -> list[str]:
  """The statistics and warnings as lines of text."""
  height, width, _ = data.image_shape
  sizes = ', '.join(f'{split} {len(data.splits[split])}' for split in data.splits)
  dtype = data.splits['train'].images.dtype
  counts = np.stack([_counts(data, split) for split in data.splits], axis=1)  # (classes, splits)
  classes = [[f'{label} {name}'[:40], *map(str, row)] for label, (name, row) in enumerate(zip(data.classes, counts,
                                                                                              strict=True))]
  std = np.where(data.low == data.high, 0, data.std)  # that of a constant channel was replaced by 1
  channels = [[name, *(f'{value:.6g}' for value in values), unit]
              for name, unit, *values in zip(data.channels, data.units, data.low, data.high, data.mean, std,
                                             strict=True)]
  return [
      f'{sizes} images of {height} x {width}, {counted(len(data.channels), "channel")} of {dtype}', '',
      *table_lines(['class', *data.splits], classes), '',
      *table_lines(['channel', 'min', 'max', 'mean', 'std', 'unit'], channels, words=['unit']), '',
      *([f'warning: {warning}' for warning in warnings_of(data)] or ['no warnings']),
  ]


def write_sheets(data: CachedDataset, folder: Path) -> Path:
  """Writes one sheet of sample training images per class, as PNG, into the folder `sheets`, which is returned."""
  sheets = folder / 'sheets'
  sheets.mkdir(parents=True, exist_ok=True)
  digits = len(str(len(data.classes) - 1))
  for label, name in enumerate(data.classes):
    rows = np.flatnonzero(data.splits['train'].labels == label)
    if len(rows):
      chosen = rows[np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int)]
      file = re.sub(r'[^\w.-]+', '_', name)[:60].strip('_')
      draw_sheet(data, chosen).save(sheets / f'{label:0{digits}d}-{file}.png')
  return sheets


def draw_sheet(data: CachedDataset, rows: np.ndarray) -> Image.Image:
  """Draws one line per training image: each channel in grey, then three of them in colour, where there are as many.

  Greys range from 2.5 std below a channel's mean to 2.5 above, within the values of the training split, the same for
  every sheet of a dataset.
  """
  height, width, count = data.image_shape
  colours = colour_channels(data.channels)
  scale = max(1, -(-TILE // min(height, width)))
  titles = [*data.channels, *(['/'.join(data.channels[channel] for channel in colours)] if colours else [])]
  across, down = width * scale + _GAP, height * scale + _GAP
  sheet = Image.new('RGB', (across * len(titles) + _GAP, _TITLE + down * len(rows) + _GAP), 'white')
  for line, row in enumerate(rows):
    levels = to_levels(data.splits['train'].images[row], data)  # (H, W, C) uint8
    tiles = [np.repeat(levels[..., channel:channel + 1], 3, -1) for channel in range(count)]
    tiles += [levels[..., list(colours)]] if colours else []
    for column, tile in enumerate(tiles):
      image = Image.fromarray(np.ascontiguousarray(tile))
      image = image.resize((width * scale, height * scale), Image.Resampling.NEAREST)
      sheet.paste(image, (_GAP + across * column, _TITLE + _GAP + down * line))
  pen = ImageDraw.Draw(sheet)
  for column, title in enumerate(titles):
    pen.text((_GAP + across * column, 2), title[:across // 6], fill='black')
  return sheet

"""How fast the data path is: building the cache, both data placements, and the share of data in a real training step.

    python -m benchmarks.data --images mini-imagenet               # everything; needs torch
    python -m benchmarks.data --images mini-imagenet --parts share

`--images` is a folder that the source `folder` reads, with JPEG images. Baselines run in alternating rounds, so that a
machine that slows down slows all of them. Every line ends with the smallest ratio, or the largest share, that is
expected.
"""

import argparse
import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageOps

from mils_jax import build
from mils_jax.data.augment import Augmentation
from mils_jax.data.cache.building import open_dataset
from mils_jax.data.loader import OnDevice, OnHost
from mils_jax.data.order import TrainingOrder
from mils_jax.data.sources import open_source
from mils_jax.distributed.devices import Devices
from mils_jax.run_config import RunConfig
from mils_jax.training.plan import TrainingPlan
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.trainer import first_state_creator, parallel_step, training_order

PARTS = ('cache', 'batches', 'share')
SIZE, BATCH, PADDING = 84, 128, 4
LARGE, LARGE_IMAGES = (500, 375), 4000  # the usual size of ImageNet's originals
PLACEMENTS = {'device': OnDevice, 'host': OnHost}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--images', required=True, help='folder with train.txt, or with train/<class>/')
  parser.add_argument('--parts', default=','.join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
  parser.add_argument('--rounds', type=int, default=3, help='rounds of each baseline')
  parser.add_argument('--steps', type=int, default=6, help='training steps in a round')
  options = parser.parse_args()
  print(f'{os.cpu_count()} cores, jax {jax.__version__} on {jax.default_backend()}', flush=True)
  with tempfile.TemporaryDirectory() as scratch:
    if 'cache' in options.parts:
      building(options.images, Path(scratch, 'datasets'), options.rounds)
      write_enlarged(options.images, Path(scratch, 'large'))
      building(str(Path(scratch, 'large')), Path(scratch, 'datasets'), options.rounds)
    if 'batches' in options.parts:
      batches(options.images, Path(scratch), options.rounds)
    if 'share' in options.parts:
      share(Path(scratch), options.rounds, options.steps)


def seconds(work: Callable[[], object]) -> float:
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


def building(images: str, scratch: Path, rounds: int) -> None:
  """Building the cache, including its processes, statistics and writing, against decoding alone in one process."""
  source = open_source('folder', path=images, image_size=SIZE)
  files = [Path(images, source.example_id(split, row)) for split in source.splits
           for row in range(source.length(split))]
  with Image.open(files[0]) as image:
    width, height = image.size
  plain, cached = [], []
  for number in range(rounds):
    plain.append(seconds(lambda: decode_plainly(files)))
    cached.append(seconds(lambda number=number: open_dataset(open_source('folder', path=images, image_size=SIZE),
                                                             scratch / str(number))))
  ours, theirs = (len(files) / statistics.median(times) for times in (cached, plain))
  print(f'building the cache from {len(files)} JPEG images of {width}x{height} at {SIZE}x{SIZE}: {ours:.0f} images/s; '
        f'a plain Pillow loop {theirs:.0f}; {ours / theirs:.2f} times (1.7 expected)', flush=True)


def write_enlarged(images: str, folder: Path) -> None:
  """A folder of the first training images, enlarged, as JPEG files with lists."""
  source = open_source('folder', path=images)
  folder.mkdir()
  lines = []
  for row in range(min(LARGE_IMAGES, source.length('train'))):
    with Image.open(Path(images, source.example_id('train', row))) as image:
      image.convert('RGB').resize(LARGE, Image.Resampling.BICUBIC).save(folder / f'{row}.jpg')
    lines.append(f'{row}.jpg {row % 2}\n')
  for split, part in (('train', lines[:-2]), ('val', lines[-2:-1]), ('test', lines[-1:])):
    (folder / f'{split}.txt').write_text(''.join(part))


def decode_plainly(files: list[Path]) -> np.ndarray:
  images = np.empty((len(files), SIZE, SIZE, 3), np.uint8)
  for row, file in enumerate(files):
    with Image.open(file) as image:
      image = image.convert('RGB')
      if image.size != (SIZE, SIZE):
        image = ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.BILINEAR)
      images[row] = np.asarray(image)
  return images


def batches(images: str, scratch: Path, rounds: int) -> None:
  """Batches with crop and flip, ready for training, from both placements and from a PyTorch DataLoader."""
  cached = open_dataset(open_source('folder', path=images, image_size=SIZE), scratch / 'batches')
  split, devices = cached.splits['train'], Devices(1)
  augmentation = Augmentation(crop_padding=PADDING, horizontal_flip=True)
  positions = jnp.arange(BATCH)

  def augmented(key: jax.Array, image: jax.Array, mask: jax.Array) -> jax.Array:
    return augmentation(key, image, jnp.zeros((BATCH, 1)), mask, positions)[0]

  augment = devices.parallel(augmented, replicated=1, shared=2, gather=True)
  order = TrainingOrder(0, len(split), BATCH)

  def ours(name: str) -> Iterator[jax.Array]:
    for step, batch in enumerate(PLACEMENTS[name](split, devices).batches(order, 0, 10**6)):
      yield jax.block_until_ready(augment(jax.random.key(step), batch['image'], batch['mask']))

  files = [Path(images, str(name)) for name in split.example_ids]
  rates: dict[str, list[float]] = {name: [] for name in (*PLACEMENTS, 'DataLoader')}
  for _ in range(rounds):
    for name in PLACEMENTS:
      rates[name].append(batches_per_second(ours(name), 400))
    rates['DataLoader'].append(batches_per_second(torch_batches(files, split.labels), 30))
  medians = {name: statistics.median(found) for name, found in rates.items()}
  for name in PLACEMENTS:
    print(f'data on the {name}, crop and flip, batch {BATCH} at {SIZE}x{SIZE}: {medians[name]:.1f} batches/s; '
          f"DataLoader with 2 workers {medians['DataLoader']:.2f}; {medians[name] / medians['DataLoader']:.0f} times "
          '(10 expected)', flush=True)


def batches_per_second(batches: Iterator, count: int) -> float:
  """Batches per second after warm-up: the first ones, which start processes and compile, are not counted."""
  for _ in range(5):
    next(batches)
  rate = count / seconds(lambda: take(batches, count))
  batches.close()
  return rate


def take(batches: Iterator, count: int) -> None:
  for _ in range(count):
    next(batches)


class ImageFiles:
  """A dataset for a PyTorch DataLoader: images decoded, cropped with padding and flipped by Pillow."""

  def __init__(self, files: list[Path], labels: np.ndarray):
    self.files, self.labels = files, labels

  def __len__(self) -> int:
    return len(self.files)

  def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
    random = np.random.default_rng()
    with Image.open(self.files[row]) as image:
      image = ImageOps.fit(image.convert('RGB'), (SIZE, SIZE), Image.Resampling.BILINEAR)
    left, top = random.integers(0, 2 * PADDING + 1, 2).tolist()
    image = ImageOps.expand(image, PADDING).crop((left, top, left + SIZE, top + SIZE))
    if random.integers(2):
      image = ImageOps.mirror(image)
    return np.asarray(image).transpose(2, 0, 1).copy(), int(self.labels[row])


def torch_batches(files: list[Path], labels: np.ndarray) -> Iterator:
  from torch.utils.data import DataLoader

  loader = DataLoader(ImageFiles(files, labels), BATCH, shuffle=True, num_workers=2, multiprocessing_context='spawn')
  while True:
    yield from loader


def share(scratch: Path, rounds: int, steps: int) -> None:
  """How much longer a training step takes than the same step on one batch that is already on the device."""
  for name in ('task_a', 'task_b', 'resnet34'):
    config = importlib.import_module(f'configs.{name}').get_config()
    config.runtime.cache = str(scratch)
    plan = build.build_plan(RunConfig.read(config), RunFolder(scratch / name))
    fixed, real = step_seconds(plan, rounds, steps)
    for placement, found in real.items():
      print(f'{config.model.name}, data on the {placement}: a step {found * 1e3:.0f} ms, on one fixed batch '
            f'{fixed * 1e3:.0f} ms; share of data {1 - fixed / found:.1%} (at most 3% expected)', flush=True)


def step_seconds(plan: TrainingPlan, rounds: int, steps: int) -> tuple[float, dict[str, float]]:
  """Median seconds of a training step on a fixed batch, and with each placement."""
  split, devices = plan.data.splits['train'], plan.devices
  order, step = training_order(plan), parallel_step(plan)
  state = devices.replicate(first_state_creator(plan)())
  sources = {name: place(split, devices).batches(order, 0, 10**6) for name, place in PLACEMENTS.items()}
  batch = next(sources['host'])
  sources['fixed'] = iter(lambda: batch, None)
  times: dict[str, list[float]] = {name: [] for name in sources}
  for number in range(rounds + 1):
    for name, batches in sources.items():
      for _ in range(steps):
        start = time.perf_counter()
        state, signals = step(state, next(batches))
        jax.block_until_ready(signals)
        if number:  # the first round compiles
          times[name].append(time.perf_counter() - start)
  sources['host'].close()
  medians = {name: statistics.median(found) for name, found in times.items()}
  return medians.pop('fixed'), medians


if __name__ == '__main__':
  main()

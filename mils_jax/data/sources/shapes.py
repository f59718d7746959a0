"""The built-in synthetic dataset: coloured shapes, drawn from a seed, so that everything runs without any data.

It has twenty classes: five shapes in four colours. A colour is a level, high or low, of each of the three channels:

            R     G     B
    red     high  low   low
    green   low   high  low
    blue    low   low   high
    white   high  high  high

In any one channel two pairs of colours have the same level, so a single channel cannot tell their classes apart, by
construction: nothing random depends on the class, hence classes of the same shape and level have the same distribution
in that channel. Any two channels tell all four colours apart.
"""

import dataclasses
import hashlib

import numpy as np

from mils_jax.config import Section, option
from mils_jax.data.sources.registry import DataOptions, register
from mils_jax.data.sources.source import Source

DRAWING_VERSION = 1  # part of the dataset cache's fingerprint: raise it when the drawing changes
DEFAULT_SIZE = 32
SHAPES = ('disc', 'square', 'triangle', 'cross', 'ring')
COLOURS = {'red': (1, 0, 0), 'green': (0, 1, 0), 'blue': (0, 0, 1), 'white': (1, 1, 1)}
CLASSES = tuple(f'{colour} {shape}' for shape in SHAPES for colour in COLOURS)

_LOW, _HIGH = 0.2, 0.8  # levels in the range from black to white
_NOISE = 0.06  # standard deviation of each pixel's noise
_TEXTURE = 0.1  # amplitude of each of the waves that make the background


@dataclasses.dataclass(frozen=True)
class ShapesOptions(Section, section='data.shapes'):
  """How many images of shapes are drawn."""

  num_train: int = option(5000, 'number of training images', low=1)
  num_val: int = option(500, 'number of validation images', low=1)
  num_test: int = option(1000, 'number of test images', low=1)


@dataclasses.dataclass(frozen=True)
class ShapesSource(Source):
  """Images (size, size, 3) uint8 drawn on demand; image i of a split is a pure function of (seed, split, i).

  Attributes:
    size: side of the images in pixels.
    seed: seed of all randomness.
    num_train, num_val, num_test: number of images per split; the classes alternate.
  """

  size: int = DEFAULT_SIZE
  seed: int = 0
  num_train: int = ShapesOptions.num_train
  num_val: int = ShapesOptions.num_val
  num_test: int = ShapesOptions.num_test

  classes = CLASSES
  channels = ('R', 'G', 'B')
  units = ('8-bit level',) * 3
  splits = ('train', 'val', 'test')

  def length(self, split: str) -> int:
    return {'train': self.num_train, 'val': self.num_val, 'test': self.num_test}[split]

  def labels(self, split: str) -> np.ndarray:
    return np.arange(self.length(split), dtype=np.int32) % len(CLASSES)

  def read(self, split: str, index: int) -> tuple[np.ndarray, int]:
    label = index % len(CLASSES)
    return draw((self.seed, self.splits.index(split), index), label, self.size), label

  def example_id(self, split: str, index: int) -> str:
    original = f'{DRAWING_VERSION} {self.seed} {split} {index}'  # determines the image, whatever its size
    return f'{split}:{hashlib.blake2b(original.encode(), digest_size=10).hexdigest()}'

  def place(self, split: str, index: int) -> str:
    return f'image {index} of {split}'

  def settings(self) -> dict:
    return {'source': 'shapes', 'version': DRAWING_VERSION, **dataclasses.asdict(self)}

  def inputs(self) -> list[tuple[str, int, int]]:
    return []


def draw(key: tuple[int, ...], label: int, size: int) -> np.ndarray:
  """Draws one image.

  Everything random is drawn from `key` in an order that does not depend on the label, so two labels of the same shape
  whose colours have the same level in a channel give bit-identical values in that channel.

  Args:
    key: non-negative whole numbers that seed all randomness.
    label: index into `CLASSES`.
    size: side of the image in pixels.

  Returns:
    (size, size, 3) uint8.
  """
  shape = SHAPES[label // len(COLOURS)]
  levels = np.array(list(COLOURS.values())[label % len(COLOURS)])  # (3,)
  random = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
  radius = random.uniform(0.24, 0.42)
  centre = random.uniform(radius, 1 - radius, 2)
  angle = random.uniform(-np.pi, np.pi)
  brightness = random.uniform(-0.12, 0.12, 3)  # of the shape, one per channel
  background = random.uniform(0.35, 0.65, 3) + _texture(random, size)  # (size, size, 3)
  noise = random.standard_normal((size, size, 3), dtype=np.float32) * _NOISE

  cover = _cover(shape, centre, radius, angle, size)[..., None]  # (size, size, 1)
  inside = np.where(levels == 1, _HIGH, _LOW) + brightness  # (3,)
  image = background + cover * (inside - background) + noise
  return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _texture(random: np.random.Generator, size: int) -> np.ndarray:
  """Draws two plane waves per channel, of random direction, wavelength and phase: (size, size, 3)."""
  frequency = random.uniform(-4, 4, (2, 2, 3))  # (wave, axis, channel), in periods per image
  phase = random.uniform(0, 2 * np.pi, (2, 3))
  axis = (np.arange(size) + 0.5)[:, None] / size * 2 * np.pi  # (size, 1)
  total = np.zeros((size, size, 3))
  for wave in range(2):
    rows = np.exp(1j * (axis * frequency[wave, 0] + phase[wave]))  # (size, 3)
    columns = np.exp(1j * axis * frequency[wave, 1])  # (size, 3)
    total += (rows[:, None] * columns[None]).real
  return total * (_TEXTURE / 2)


def _cover(shape: str, centre: np.ndarray, radius: float, angle: float, size: int) -> np.ndarray:
  """How much of each pixel the shape covers, in 0..1, with an edge one pixel wide: (size, size)."""
  axis = (np.arange(size) + 0.5) / size
  y, x = (axis[:, None] - centre[0]) / radius, (axis[None] - centre[1]) / radius
  u = np.abs(np.cos(angle) * x + np.sin(angle) * y)  # every shape is the same on both sides of this axis
  v = np.cos(angle) * y - np.sin(angle) * x
  if shape == 'disc':
    distance = np.hypot(u, v) - 0.8
  elif shape == 'square':
    distance = np.maximum(u, np.abs(v)) - 0.72
  elif shape == 'triangle':
    distance = np.maximum(v - 0.5, u * np.sqrt(0.75) - v / 2 - 0.5)
  elif shape == 'cross':
    distance = np.maximum(np.minimum(u, np.abs(v)) - 0.25, np.maximum(u, np.abs(v)) - 0.95)
  else:
    distance = np.abs(np.hypot(u, v) - 0.7) - 0.22
  return np.clip(0.5 - distance * radius * size, 0, 1)


@register('shapes', ShapesOptions, title='built-in drawings')
def open_shapes_source(data: DataOptions, own: ShapesOptions) -> ShapesSource:
  return ShapesSource(data.image_size or DEFAULT_SIZE, data.seed, own.num_train, own.num_val, own.num_test)

"""Sources of labelled images: where the data of a run comes from."""

from mils_jax.data.sources.arrays import ArraysSource
from mils_jax.data.sources.folder import FolderSource
from mils_jax.data.sources.images import CHANNEL_AXES
from mils_jax.data.sources.names import split_config_names
from mils_jax.data.sources.shapes import DEFAULT_SIZE, ShapesSource
from mils_jax.data.sources.source import Source
from mils_jax.data.sources.splits import EverySplit
from mils_jax.data.sources.tfds import TfdsSource
from mils_jax.errors import UserError, unknown

SOURCES = ('shapes', 'folder', 'arrays', 'tfds')


def open_source(name: str, *, path: str = '', image_size: int = 0, seed: int = 0, channel_names: str = '',
                channel_axis: str = '', val_fraction: float = 0.1, test_fraction: float = 0.1, num_train: int = 5000,
                num_val: int = 500, num_test: int = 1000, tfds_name: str = '', image_key: str = 'image',
                label_key: str = 'label', train_split: str = 'train', val_split: str = '',
                test_split: str = '', allow_outside: bool = False) -> Source:
  """Opens a source that has all three splits.

  Args:
    name: one of `SOURCES`.
    path: the folder, the .npz file or folder of .npy, or TFDS's own data folder ('' being TFDS's default).
    image_size: side of the square that every image becomes; 0: its own size (32 for shapes).
    seed: of the cut of missing splits, and of the drawing of shapes.
    channel_names: comma-separated names of the channels; '': what the data says.
    channel_axis: '', 'first' or 'last': where the channels are in .npy, TIFF and arrays that do not say.
    val_fraction, test_fraction: shares of the training split that a missing split takes.
    num_train, num_val, num_test: sizes of the splits of shapes.
    tfds_name, image_key, label_key: the TFDS set and the keys of its image and label.
    allow_outside: let a folder's images lie outside of it.
    train_split, val_split, test_split: TFDS's names or slices of the splits; '': its own name for it, if it has one.

  Raises:
    UserError: the source is unknown, or what it reads is not as it should be.
  """
  if image_size < 0:
    raise UserError(f'data.image_size={image_size}: must be 0 (the images\' own size) or a number of pixels')
  if channel_axis not in CHANNEL_AXES:
    raise unknown('data.channel_axis', channel_axis, ("''", *CHANNEL_AXES[1:]))
  names = split_config_names(channel_names)
  if name == 'shapes':
    source = _open_shapes(image_size, seed, num_train, num_val, num_test)
  elif name == 'folder':
    source = FolderSource(path, image_size, names, channel_axis, allow_outside)
  elif name == 'arrays':
    source = ArraysSource(path, image_size, names, channel_axis)
  elif name == 'tfds':
    splits = {'train': train_split, 'val': val_split, 'test': test_split}
    source = TfdsSource(tfds_name, path, image_size, names, image_key, label_key, splits)
  else:
    raise unknown('source', name, SOURCES)
  return EverySplit(source, val_fraction, test_fraction, seed)


def _open_shapes(image_size: int, seed: int, num_train: int, num_val: int, num_test: int) -> ShapesSource:
  if seed < 0:
    raise UserError(f'data.seed={seed}: must be 0 or more')
  for split, count in (('train', num_train), ('val', num_val), ('test', num_test)):
    if count < 1:
      raise UserError(f'data.num_{split}={count}: must be at least 1')
  return ShapesSource(image_size or DEFAULT_SIZE, seed, num_train, num_val, num_test)

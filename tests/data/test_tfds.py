"""Sets of TFDS's own making, prepared on the spot and read back through its file format."""

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mils_jax.data.cache.building import fingerprint, open_dataset
from mils_jax.data.sources import open_source
from mils_jax.errors import RunError, UserError

tfds = pytest.importorskip('tensorflow_datasets')

COUNTS = {'train': 30, 'test': 8}


def pixels(split, index, channels):
  random = np.random.default_rng((len(split), index))
  return random.integers(0, 250, (9, 12, channels)).astype(np.uint8 if channels == 3 else np.uint16)


class ColourPatches(tfds.core.GeneratorBasedBuilder):
  """Encoded RGB images."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({
        'image': tfds.features.Image(shape=(None, None, 3)), 'label': tfds.features.ClassLabel(names=['moss', 'sand']),
        'note': tfds.features.Text()}))

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split) for split in COUNTS}

  def _generate_examples(self, split):
    for index in range(COUNTS[split]):
      file = io.BytesIO()
      Image.fromarray(pixels(split, index, 3)).save(file, 'PNG')
      file.seek(0)
      yield index, {'image': file, 'label': index % 2, 'note': ''}


class ManyBands(tfds.core.GeneratorBasedBuilder):
  """Tensors of 13 bands under other keys."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({
        'sentinel2': tfds.features.Tensor(shape=(9, 12, 13), dtype=np.uint16),
        'kind': tfds.features.ClassLabel(num_classes=3), 'orbit': tfds.features.Text()}))

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split) for split in COUNTS}

  def _generate_examples(self, split):
    for index in range(COUNTS[split]):
      yield index, {'sentinel2': pixels(split, index, 13), 'kind': index % 3, 'orbit': f'o{index // 6}'}


class PlainArrays(tfds.core.GeneratorBasedBuilder):
  """Images given as arrays, which TFDS has TensorFlow encode."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({
        'image': tfds.features.Image(shape=(9, 12, 3)), 'label': tfds.features.ClassLabel(num_classes=2)}))

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    yield 0, {'image': pixels('train', 0, 3), 'label': 0}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('tfds')
  for name in ('colour_patches', 'many_bands'):
    tfds.builder(name, data_dir=folder).download_and_prepare(file_format='array_record')
  return str(folder)


OWN = ('name', 'image_key', 'label_key', 'train_split', 'val_split', 'test_split')


def open_patches(data_dir, **options):
  own = {'name': 'colour_patches', **{key: options.pop(key) for key in OWN if key in options}}
  return open_source('tfds', path=data_dir, tfds=own, **options)


def as_set(images):
  return {image.tobytes() for image in images}


def test_colour_images_are_read_back_and_built_without_tensorflow(data_dir, tmp_path):
  dataset = open_dataset(open_patches(data_dir, val_fraction=0.2), tmp_path)
  assert (dataset.classes, dataset.channels, dataset.image_shape) == (('moss', 'sand'), ('R', 'G', 'B'), (9, 12, 3))
  assert {split: len(dataset.splits[split]) for split in dataset.splits} == {'train': 24, 'val': 6, 'test': 8}
  assert as_set(dataset.splits['test'].images) == as_set(pixels('test', index, 3) for index in range(8))
  both = [*dataset.splits['train'].images, *dataset.splits['val'].images]
  assert as_set(both) == as_set(pixels('train', index, 3) for index in range(30))
  by_pixels = {pixels('train', index, 3).tobytes(): index % 2 for index in range(30)}
  found = dataset.splits['train']
  assert [by_pixels[image.tobytes()] for image in found.images] == found.labels.tolist()
  assert len(set(dataset.splits['train'].example_ids) | set(dataset.splits['val'].example_ids)) == 30
  assert 'tensorflow' not in sys.modules


def test_thirteen_bands_keep_their_dtype_under_other_keys(data_dir, tmp_path):
  dataset = open_dataset(open_patches(data_dir, name='many_bands', image_key='sentinel2', label_key='kind'), tmp_path)
  assert dataset.splits['test'].images.dtype == np.uint16
  assert as_set(dataset.splits['test'].images) == as_set(pixels('test', index, 13) for index in range(8))
  assert dataset.channels == tuple(f'c{band}' for band in range(13))


def test_slices_and_names_of_splits(data_dir):
  source = open_patches(data_dir, train_split='train[:80%]', val_split='train[80%:]', test_split='test[:3]')
  assert [source.length(split) for split in ('train', 'val', 'test')] == [24, 6, 3]
  whole = open_patches(data_dir, val_split='test')
  assert [source.example_id('train', index) for index in range(24)] == [
      whole.example_id('train', index) for index in range(24)]


def test_pixels_without_data_are_masked(data_dir, tmp_path):
  values = pixels('train', 0, 3)
  nodata = int(values[0, 0, 0])
  source = open_patches(data_dir, nodata=str(nodata))
  seen = [source.read('train', index)[0] for index in range(source.length('train'))]
  assert any(np.ma.is_masked(image) for image in seen)
  assert all(nodata not in np.ma.asarray(image).compressed() for image in seen)
  assert 'nodata' not in open_patches(data_dir).settings()
  assert fingerprint(source) != fingerprint(open_patches(data_dir))


def test_the_size_does_not_change_example_ids(data_dir):
  own, small = open_patches(data_dir, val_split='test'), open_patches(data_dir, val_split='test', image_size=4)
  assert small.read('train', 3)[0].shape == (4, 4, 3)
  assert own.example_id('train', 3) == small.example_id('train', 3)


@pytest.mark.parametrize(('options', 'parts'), [
    ({'name': 'colour_patch'}, ("'colour_patch'", 'colour_patches')),
    ({'name': ''}, ('data.tfds.name', )),
    ({'name': 'eurosat/al'}, ("'eurosat/al' (BuilderConfig al not found", 'Near names: eurosat/all, ')),
    ({'name': 'colour_patches:9.9.9'}, ("'colour_patches:9.9.9'", 'only: 1.0.0')),
    ({'image_key': 'photo'}, ("data.tfds.image_key='photo'", 'image, label, note')),
    ({'label_key': 'note'}, ("data.tfds.label_key='note'", 'not a class label')),
    ({'val_split': 'validation'}, ("data.tfds.val_split='validation'", 'train', 'test')),
    ({'train_split': 'train[:x%]'}, ('data.tfds.train_split',)),
    ({'train_split': 'train[:0]'}, ('data.tfds.train_split', 'empty')),
    ({'channel_names': 'a,b'}, ('2 channel names', '3 channels')),
    ({'image_key': 'note'}, ("data.tfds.image_key='note'", 'no image that can be read')),
    ({'val_split': 'train[80%:]'}, ("data.tfds.val_split='train[80%:]': 6 of its examples are training examples",)),
    ({'train_split': 'train+test'}, ("data.tfds.test_split='test': 8 of its examples are training examples",)),
    ({'train_split': 'train[:20]', 'val_split': 'train[15:]'}, ('val_split', '5 of its examples')),
])
def test_mistakes_are_one_line(data_dir, options, parts):
  with pytest.raises(UserError) as raised:
    open_patches(data_dir, **options)
  text = str(raised.value)
  assert '\n' not in text
  assert all(part in text for part in parts), text


def test_a_set_that_tensorflow_must_prepare_names_the_extra(tmp_path):
  if importlib.util.find_spec('tensorflow'):
    pytest.skip('TensorFlow is here, so TFDS can prepare the set')
  with pytest.raises(UserError, match=r"TensorFlow once.*'.\[tfds-prepare\]'"):
    open_patches(str(tmp_path), name='plain_arrays')


def test_another_missing_module_is_not_mistaken_for_tensorflow(tmp_path, monkeypatch):
  def needs(self, split):
    raise ImportError('no such module', name='apache_beam.io')

  monkeypatch.setattr(ColourPatches, '_generate_examples', needs)
  with pytest.raises(UserError, match='the module apache_beam to prepare'):
    open_patches(str(tmp_path))


def test_a_set_prepared_for_tensorflow_alone_is_no_unknown_one(tmp_path):
  builder = tfds.builder('colour_patches', data_dir=tmp_path)
  builder.download_and_prepare(file_format='array_record')
  info = Path(builder.data_dir, 'dataset_info.json')
  info.write_text(info.read_text().replace('array_record', 'tfrecord'))
  with pytest.raises(UserError, match='colour_patches: is prepared in a format that only TensorFlow reads'):
    open_patches(str(tmp_path))


def test_a_failed_download_is_a_failed_run(tmp_path, monkeypatch):
  def fails(self, split):
    raise ConnectionError('the network\nis unreachable')

  monkeypatch.setattr(ColourPatches, '_generate_examples', fails)
  with pytest.raises(RunError, match='the network is unreachable'):
    open_patches(str(tmp_path))


def test_groups_are_a_feature_of_ones_own(data_dir):
  source = open_patches(data_dir, name='many_bands', image_key='sentinel2', label_key='kind', group_by='orbit')
  assert set(source.groups('train')) | set(source.groups('val')) == {'o0', 'o1', 'o2', 'o3', 'o4'}
  assert source.length('val') == 6
  assert set(source.groups('train')) & set(source.groups('val')) == set()
  with pytest.raises(UserError, match=r"data.group_by='orbits': many_bands has no such feature. Valid: .*orbit"):
    open_patches(data_dir, name='many_bands', image_key='sentinel2', label_key='kind', group_by='orbits')
  with pytest.raises(UserError, match=r"data.group_by='kind': expected a feature with one number or text"):
    open_patches(data_dir, name='many_bands', image_key='sentinel2', label_key='kind', group_by='kind')

import pickle

import numpy as np
import pytest

from mils_jax.data.cache.building import open_dataset
from mils_jax.data.sources import open_source
from mils_jax.data.sources.arrays import ArraysSource
from mils_jax.data.sources.pixels import Reading
from mils_jax.errors import UserError


def contents(dtype='int16', depth=4, **changes):
  random = np.random.default_rng(0)
  arrays = {}
  for split, count in (('train', 12), ('val', 4), ('test', 6)):
    arrays[f'{split}_images'] = random.integers(0, 200, (count, 8, 9, depth)).astype(dtype)
    arrays[f'{split}_labels'] = np.arange(count) % 3
  arrays.update({'classes': np.array(['x', 'y', 'z']), 'bands': np.array([f'b{band}' for band in range(depth)])})
  arrays.update(changes)
  return {name: array for name, array in arrays.items() if array is not None}


def write(tmp_path, kind, arrays):
  if kind == 'folder':
    (tmp_path / 'set').mkdir(exist_ok=True)
    for name, array in arrays.items():
      np.save(tmp_path / 'set' / f'{name}.npy', array)
    return str(tmp_path / 'set')
  save = np.savez if kind == 'stored' else np.savez_compressed
  save(tmp_path / 'set.npz', **arrays)
  return str(tmp_path / 'set.npz')


def refused(tmp_path, arrays, *parts, kind='stored', **options):
  def use():
    source = ArraysSource(write(tmp_path, kind, arrays), **options)
    for split in source.splits:
      source.labels(split)

  with pytest.raises(UserError) as raised:
    use()
  text = str(raised.value)
  assert '\n' not in text
  for part in parts:
    assert part in text


@pytest.mark.parametrize('kind', ['stored', 'compressed', 'folder'])
@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'float32'])
def test_every_layout_and_dtype_reads_back(tmp_path, kind, dtype):
  arrays = contents(dtype)
  source = ArraysSource(write(tmp_path, kind, arrays))
  source = pickle.loads(pickle.dumps(source))
  assert (source.classes, source.channels) == (('x', 'y', 'z'), ('b0', 'b1', 'b2', 'b3'))
  for split in ('train', 'val', 'test'):
    assert source.length(split) == len(arrays[f'{split}_images'])
    assert np.array_equal(source.labels(split), arrays[f'{split}_labels'])
    for index in range(source.length(split)):
      image, label = source.read(split, index)
      assert image.dtype == dtype
      assert np.array_equal(image, arrays[f'{split}_images'][index])
      assert label == arrays[f'{split}_labels'][index]


@pytest.mark.parametrize('kind', ['stored', 'folder'])
def test_uncompressed_arrays_are_mapped_not_loaded(tmp_path, kind):
  source = ArraysSource(write(tmp_path, kind, contents()))
  assert isinstance(source.images('train'), np.memmap)


def test_fortran_order_and_big_endian_arrays_keep_their_values(tmp_path):
  arrays = contents()
  changed = {**arrays, 'train_images': np.asfortranarray(arrays['train_images'])}
  source = ArraysSource(write(tmp_path, 'stored', changed))
  assert np.array_equal(source.read('train', 5)[0], arrays['train_images'][5])
  swapped = {name: array.astype('>i2') if name.endswith('images') else array for name, array in arrays.items()}
  dataset = open_dataset(open_source('arrays', path=write(tmp_path, 'stored', swapped)), tmp_path / 'cache')
  assert np.array_equal(dataset.splits['train'].images, arrays['train_images'])


def test_grey_images_need_no_channel_axis_and_channels_first_is_told(tmp_path):
  grey = contents(depth=1, bands=None)
  grey = {name: array[..., 0] if name.endswith('images') else array for name, array in grey.items()}
  assert ArraysSource(write(tmp_path, 'stored', grey)).read('train', 0)[0].shape == (8, 9, 1)
  first = {name: np.moveaxis(array, -1, 1) if name.endswith('images') else array for name, array in contents().items()}
  path = write(tmp_path, 'stored', first)
  source = ArraysSource(path, reading=Reading(channel_axis='first'))
  assert np.array_equal(source.read('val', 1)[0], contents()['val_images'][1])
  refused(tmp_path, first, 'looks like channels first', 'data.channel_axis')


def test_example_ids_hash_the_original_whatever_the_size(tmp_path):
  path = write(tmp_path, 'stored', contents())
  own, small = ArraysSource(path), ArraysSource(path, reading=Reading(4))
  assert small.read('train', 0)[0].shape == (4, 4, 4)
  names = [own.example_id('train', index) for index in range(12)]
  assert names == [small.example_id('train', index) for index in range(12)]
  assert len(set(names)) == 12
  assert names[0].startswith('train:')


def test_without_classes_labels_count_and_names_are_assumed(tmp_path):
  source = ArraysSource(write(tmp_path, 'stored', contents(classes=None, bands=None)))
  assert source.classes == ('0', '1', '2')
  assert source.channels == ('c0', 'c1', 'c2', 'c3')
  assert source.notes
  named = contents(bands=None, channels=np.array(['q', 'r', 's', 't']), units=np.array(['K', '', '', 'm']))
  source = ArraysSource(write(tmp_path, 'stored', named))
  assert (source.channels, source.units) == (('q', 'r', 's', 't'), ('K', '', '', 'm'))


def test_labels_without_names_stay_below_a_million(tmp_path):
  labels = np.arange(12) % 3
  labels[5] = 10**6 - 1
  source = ArraysSource(write(tmp_path, 'stored', contents(classes=None, train_labels=labels)))
  assert len(source.classes) == 10**6
  labels[5] = 10**6
  refused(tmp_path, contents(classes=None, train_labels=labels), 'train_labels go up to 1000000', 'classes')


def test_missing_splits_are_cut(tmp_path):
  arrays = {name: array for name, array in contents().items() if not name.startswith(('val', 'test'))}
  source = open_source('arrays', path=write(tmp_path, 'stored', arrays), val_fraction=0.25, test_fraction=0.25)
  assert [source.length(split) for split in ('train', 'val', 'test')] == [6, 3, 3]
  place = source.place('val', 0)  # in the file, not in the split that was cut
  row = int(place.removeprefix('train_images[').removesuffix(']'))
  assert np.array_equal(source.read('val', 0)[0], arrays['train_images'][row])


IMAGES = contents()['train_images']


@pytest.mark.parametrize(('changes', 'parts'), [
    ({'train_images': None}, ('no train_images', 'train_labels')),
    ({'val_labels': None}, ('val_images without val_labels',)),
    ({'train_labels': np.arange(11) % 3}, ('train_labels', '(11,)', '(12,)')),
    ({'train_labels': np.full(12, 0.5)}, ('train_labels[0] is 0.5', 'float64', 'whole numbers')),
    ({'test_labels': np.array([0, 1, 3, 0, 1, 9])}, ('test_labels[2] is 3', '2 labels', '0 to 2')),
    ({'train_labels': np.full(12, -1)}, ('train_labels[0] is -1',)),
    ({'train_images': IMAGES.astype(np.float64)}, ('float64', 'uint8, int16, uint16, float32')),
    ({'train_images': IMAGES[0, 0]}, ('shape (9, 4)', '(N, H, W, C)')),
    ({'val_images': IMAGES[:4, :7]}, ('val_images', '(7, 9, 4)', '(8, 9, 4)')),
    ({'val_images': IMAGES[:4].astype(np.uint8)}, ('val_images', 'uint8', 'int16')),
    ({'val_images': IMAGES[:0], 'val_labels': np.zeros(0, int)}, ('val_images', 'empty split')),
    ({'classes': np.array(['x', {}], object)}, ('classes', 'object array', 'refused')),
    ({'bands': np.array(['a', 'b', 'a', 'c'])}, ('bands', "'a' is given twice")),
    ({'bands': np.array(['a', 'b'])}, ('2 channel names', '4 channels')),
    ({'units': np.array(['K'])}, ('1 units', '4 channels')),
])
def test_bad_arrays_are_one_line(tmp_path, changes, parts):
  refused(tmp_path, contents(**changes), *parts)


def test_an_object_array_of_images_is_refused(tmp_path):
  refused(tmp_path, contents(train_images=np.array([None, 'x'], object)), 'train_images', 'object array')


def test_files_that_are_no_arrays(tmp_path):
  path = tmp_path / 'a.npz'
  for content in (b'no zip at all', b'', pickle.dumps({'train_images': 1})):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'a\.npz: not an \.npz'):
      ArraysSource(str(path))
  with pytest.raises(UserError, match='missing'):
    ArraysSource(str(tmp_path / 'missing.npz'))


def test_a_truncated_archive_is_one_line(tmp_path):
  path = write(tmp_path, 'stored', contents())
  with open(path, 'r+b') as file:
    file.truncate(3000)
  with pytest.raises(UserError):
    ArraysSource(path)


def test_nonfinite_values_are_counted_and_located(tmp_path):
  arrays = contents('float32')
  arrays['val_images'][2, 0, 0, 0] = np.nan
  arrays['val_images'][3, 0, 0, 1] = np.inf
  source = open_source('arrays', path=write(tmp_path, 'stored', arrays))
  for _ in range(2):  # when the dataset cache is built, and when it is found again
    assert open_dataset(source, tmp_path / 'cache').nonfinite['val'] == (
        [1, 1, 0, 0], ['val_images[2]', 'val_images[3]', '', ''])


def test_the_land_cover_set_is_built_with_its_bands(real_data, tmp_path):
  path = real_data / 'multiband-landcover.npz'
  if not path.exists():
    pytest.skip('MILS_TEST_DATA has no multiband-landcover.npz')
  dataset = open_dataset(open_source('arrays', path=str(path)), tmp_path)
  assert dataset.channels == ('coastal', 'blue', 'green', 'red', 'nir', 'swir1', 'swir2')
  assert [len(dataset.splits[split]) for split in ('train', 'val', 'test')] == [2680, 377, 721]
  with np.load(path) as arrays:
    images = arrays['train_images']
  assert dataset.splits['train'].images.dtype == np.int16
  assert np.array_equal(dataset.splits['train'].images, images)
  np.testing.assert_allclose(dataset.mean, images.mean((0, 1, 2)), rtol=1e-9)
  np.testing.assert_allclose(dataset.std, images.std((0, 1, 2), dtype=np.float64), rtol=1e-9)


def labelled(tmp_path, labels, **changes):
  path = write(tmp_path, 'stored', contents(classes=None, train_labels=labels, **changes))
  return ArraysSource(path)


NUMBERS = np.arange(12) % 3


@pytest.mark.parametrize(('labels', 'note'), [
    (NUMBERS[:, None].astype(np.uint8), ''), (NUMBERS.astype(np.float32), 'whole numbers of the type float32'),
    (np.eye(3)[NUMBERS], 'one-hot rows'), (np.eye(3, dtype=bool)[NUMBERS], 'one-hot rows')])
def test_labels_come_in_other_shapes_and_types(tmp_path, labels, note):
  source = labelled(tmp_path, labels)
  assert source.labels('train').tolist() == NUMBERS.tolist()
  assert source.read('train', 5)[1] == 2
  assert [one for one in source.notes if 'train_labels' in one] == ([one for one in source.notes if note in one]
                                                                    if note else [])


def test_text_labels_are_classes(tmp_path):
  names = np.array(['sea', 'land', 'air'])
  others = {'val_labels': np.array(['sea', 'air', 'sea', 'air']), 'test_labels': names[[0] * 6]}
  source = labelled(tmp_path, names[NUMBERS], **others)
  assert source.classes == ('air', 'land', 'sea')
  assert source.labels('val').tolist() == [2, 0, 2, 0]
  wrong = contents(classes=None, train_labels=names[NUMBERS], **{**others, 'val_labels': np.array(['see'] * 4)})
  refused(tmp_path, wrong, "val_labels[0]: unknown class 'see'. Did you mean 'sea'?")
  names[1] = ' '
  empty = contents(classes=None, train_labels=names[NUMBERS], **others)
  refused(tmp_path, empty, 'train_labels[1]: an empty label; expected the class of each image')
  refused(tmp_path, contents(classes=['sea', 'air', 'sea']), "classes: names the class 'sea' 2 times")


@pytest.mark.parametrize(('labels', 'parts'), [
    (np.maximum(np.eye(3)[NUMBERS], np.eye(3)[::-1][NUMBERS]), ('8 rows have several ones', '[0]', 'multi-label')),
    (np.zeros((12, 3)), ('[0]: a row without a one',)), (np.full((12, 3), 0.3), ('one-hot rows of 0 and 1',)),
    (np.full(12, np.nan), ('[0] is nan',))])
def test_labels_of_several_classes_or_none_are_refused(tmp_path, labels, parts):
  refused(tmp_path, contents(classes=None, train_labels=labels), 'train_labels', *parts)


def test_one_hot_rows_have_a_column_for_a_class_that_training_lacks(tmp_path):
  rows = {f'{split}_labels': np.eye(5, dtype=np.uint8)[labels] for split, labels in
          (('train', NUMBERS), ('val', [0, 1, 2, 0]), ('test', [0, 1, 2, 3, 0, 1]))}
  source = ArraysSource(write(tmp_path, 'stored', contents(classes=None, **rows)))
  assert source.classes == tuple('0123')
  assert source.labels('test').tolist() == [0, 1, 2, 3, 0, 1]
  numbers = {'test_labels': np.array([0, 1, 2, 5, 0, 1])}
  refused(tmp_path, contents(classes=None, **{**rows, **numbers}), 'test_labels[3] is 5', 'valid: 0 to 4')


@pytest.mark.parametrize('kind', ['stored', 'compressed', 'folder'])
def test_one_channel_may_be_named_by_a_text_alone(tmp_path, kind):
  path = write(tmp_path, kind, contents(depth=1, bands=None, channels=np.array('NIR')))
  assert ArraysSource(path).channels == ('NIR',)
  source = ArraysSource(path, channel_names=('B08',))
  assert (source.channels, source.stated_channels.names) == (('B08',), ('NIR',))


def test_a_validation_split_may_be_called_otherwise_and_what_is_not_used_is_named(tmp_path):
  arrays = contents()
  extra = {'extra_images': arrays['val_images']}
  arrays = {name.replace('val_', 'valid_'): array for name, array in arrays.items()} | extra
  source = ArraysSource(write(tmp_path, 'stored', arrays))
  assert source.splits == ('train', 'val', 'test')
  assert source.place('val', 1) == 'valid_images[1]'
  assert any('not used, because no split is called so: extra_images' in note for note in source.notes)
  refused(tmp_path, {**arrays, 'dev_images': IMAGES}, 'valid_images and dev_images are all called like the val split')


def test_values_without_data_are_masked(tmp_path):
  arrays = contents()
  arrays['train_images'][0, 0, 0, 1] = -9999
  source = ArraysSource(write(tmp_path, 'stored', arrays), Reading(nodata='-9999'))
  assert np.argwhere(np.ma.getmaskarray(source.read('train', 0)[0])).tolist() == [[0, 0, 1]]
  assert not np.ma.isMaskedArray(source.read('train', 1)[0])


def test_three_channels_that_nothing_names_are_taken_for_colours_with_a_note(tmp_path):
  arrays = {f'{split}_{what}': np.zeros((4, 6, 6, 3) if what == 'images' else 4, np.uint8)
            for split in ('train', 'val', 'test') for what in ('images', 'labels')}
  for names, notes in (({}, 1), ({'channels': ['nir', 'red', 'green']}, 0)):
    np.savez(tmp_path / 'x.npz', **arrays, **names)
    source = ArraysSource(str(tmp_path / 'x.npz'))
    assert source.channels == tuple(names.get('channels', 'RGB'))
    assert sum('assumed to be R, G and B (data.channel_names names them)' in note for note in source.notes) == notes


@pytest.mark.parametrize('kind', ['stored', 'folder'])
def test_bytes_are_text(tmp_path, kind):
  arrays = contents(bands=np.array([b'b0', b'b1', b'b2', 'b\xfc'.encode()]), classes=np.array([b'x', b'y', b'z']),
                    train_labels=np.array([b'x', b'y', b'z'] * 4), train_scene=np.array([b'a', b'\xff'] * 6))
  source = ArraysSource(write(tmp_path, kind, arrays), group_by='scene')
  assert (source.channels, source.classes) == (('b0', 'b1', 'b2', 'b\xfc'), ('x', 'y', 'z'))
  assert source.labels('train').tolist() == [0, 1, 2] * 4
  assert source.groups('train').tolist() == ['a', '\ufffd'] * 6


def test_hidden_files_in_a_folder_of_arrays_are_none(tmp_path):
  path = write(tmp_path, 'folder', contents())
  (tmp_path / 'set' / '._train_images.npy').write_bytes(b'of macOS')
  assert ArraysSource(path).length('train') == 12


def test_images_and_labels_alone_are_what_all_splits_are_cut_from(tmp_path):
  arrays = contents()
  alone = {'images': arrays['train_images'], 'labels': arrays['train_labels'], 'bands': arrays['bands']}
  for kind in ('stored', 'compressed', 'folder'):
    source = ArraysSource(write(tmp_path, kind, alone))
    assert source.splits == ('train',)
    assert source.notes == ()
    assert source.place('train', 3) == 'images[3]'
    assert np.array_equal(source.read('train', 3)[0], alone['images'][3])
    assert source.labels('train').tolist() == alone['labels'].tolist()
  refused(tmp_path, {**alone, 'labels': np.full(12, 7), 'classes': np.array(['x', 'y'])}, ': labels[0] is 7')
  refused(tmp_path, {'images': alone['images']}, 'images without labels')
  both = ArraysSource(write(tmp_path, 'stored', {**alone, **arrays}))
  assert both.place('train', 3) == 'train_images[3]'
  assert both.notes == ('set.npz: not used, because no split is called so: images, labels',)


def test_groups_are_an_array_of_ones_own(tmp_path):
  scenes = np.arange(12) // 4
  arrays = contents(val_images=None, val_labels=None, train_scene=scenes,
                    test_scene=np.array([f't{number}' for number in range(6)]))
  path = write(tmp_path, 'stored', arrays)
  source = ArraysSource(path, group_by='scene')
  assert source.notes == ()
  assert source.groups('train').tolist() == [str(scene) for scene in scenes]
  assert source.groups('test')[2] == 't2'
  assert ArraysSource(path).groups('train') is None
  cut = open_source('arrays', path=path, group_by='scene')
  assert set(cut.groups('train')) & set(cut.groups('val')) == set()
  assert cut.length('val') == 4
  with pytest.raises(UserError, match=r"unknown data.group_by 'scen'. Did you mean 'scene'\? Valid: scene"):
    ArraysSource(path, group_by='scen').groups('train')
  with pytest.raises(UserError, match=r'train_scene has shape \(2,\); expected \(12,\), one group for each image'):
    ArraysSource(write(tmp_path, 'stored', {**arrays, 'train_scene': scenes[:2]}), group_by='scene').groups('train')
  with pytest.raises(UserError, match=r"data.group_by='scene': data.source=shapes has no groups"):
    open_source('shapes', group_by='scene')

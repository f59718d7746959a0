import os
import shutil

import numpy as np
import pytest

from mils_jax.data.cache.building import fingerprint
from mils_jax.data.sources import open_source
from mils_jax.data.sources.folder import FolderSource
from mils_jax.errors import UserError
from tests.data.fakes import write_image, write_lists


def write_tree(root):
  written = {}
  for split, name, file in (('train', 'dog', 'b.png'), ('train', 'cat', 'a.png'), ('train', 'cat', 'deep/er.PNG'),
                            ('test', 'dog', 'c.png')):
    written[f'{split}/{name}/{file}'] = write_image(root / split / name / file, seed=len(written))
  (root / 'train/cat/notes.md').write_text('not an image')
  write_image(root / 'train/cat/.hidden.png')
  return written


def refused(root, *parts, **options):
  with pytest.raises(UserError) as raised:
    FolderSource(str(root), **options).inputs()
  text = str(raised.value)
  assert '\n' not in text
  for part in parts:
    assert part in text


def test_lists_give_images_labels_and_paths(tmp_path):
  written = write_lists(tmp_path)
  source = FolderSource(str(tmp_path))
  assert (source.splits, source.classes, source.channels) == (('train', 'val', 'test'), ('0', '1'), ('R', 'G', 'B'))
  seen = {}
  for split in source.splits:
    for index in range(source.length(split)):
      image, label = source.read(split, index)
      assert label == source.labels(split)[index] == index % 2
      seen[source.example_id(split, index)] = image
  assert seen.keys() == written.keys()
  assert all(np.array_equal(seen[name], written[name]) for name in seen)


def test_trees_give_classes_in_order_of_their_names(tmp_path):
  written = write_tree(tmp_path)
  source = FolderSource(str(tmp_path))
  assert (source.classes, source.splits) == (('cat', 'dog'), ('train', 'test'))
  names = [source.example_id('train', index) for index in range(source.length('train'))]
  assert names == ['train/cat/a.png', 'train/cat/deep/er.PNG', 'train/dog/b.png']
  assert source.labels('train').tolist() == [0, 0, 1]
  assert np.array_equal(source.read('test', 0)[0], written['test/dog/c.png'])


def test_missing_splits_are_cut_from_training(tmp_path):
  write_lists(tmp_path, train=20, val=0, test=4)
  source = open_source('folder', path=str(tmp_path), val_fraction=0.3)
  assert [source.length(split) for split in ('train', 'val', 'test')] == [14, 6, 4]


def test_names_and_units_of_channels(tmp_path):
  write_lists(tmp_path)
  assert FolderSource(str(tmp_path), channel_names=('x', 'y', 'z')).channels == ('x', 'y', 'z')
  (tmp_path / 'channels.txt').write_text('red  reflectance x 10000\ngreen\nnir\tK\n')
  source = FolderSource(str(tmp_path))
  assert source.channels == ('red', 'green', 'nir')
  assert source.units == ('reflectance x 10000', '', 'K')
  (tmp_path / 'channels.txt').write_text('red\nred\nnir\n')
  refused(tmp_path, 'channels.txt', "'red' is given twice")
  (tmp_path / 'channels.txt').write_text('red\ngreen\n')
  refused(tmp_path, '2 channel names', '3 channels')
  refused(tmp_path, 'data.channel_names', "'x' is given twice", channel_names=('x', 'y', 'x'))


def test_unnamed_channels_are_numbered_with_a_note(tmp_path):
  for split in ('train', 'val', 'test'):
    (tmp_path / split / 'a').mkdir(parents=True)
    np.save(tmp_path / split / 'a/1.npy', np.zeros((9, 9, 5), np.uint16))
  source = FolderSource(str(tmp_path))
  assert source.channels == ('c0', 'c1', 'c2', 'c3', 'c4')
  assert 'c0 to c4' in source.notes[0]


def test_class_names_from_a_file(tmp_path):
  write_lists(tmp_path)
  (tmp_path / 'classes.txt').write_text('0 n01 house finch\n1 n02 robin\n')
  assert FolderSource(str(tmp_path)).classes == ('n01 house finch', 'n02 robin')
  (tmp_path / 'classes.txt').write_text('finch\n3 toed sloth\nrobin\n')
  assert FolderSource(str(tmp_path)).classes == ('finch', '3 toed sloth', 'robin')


@pytest.mark.parametrize(('line', 'parts'), [
    ('images/train 0.png', ("line 7: 'images/train 0.png'", 'relative/path label')),
    ('lonely.png', ("line 7: 'lonely.png'",)),
    ('images/train 0.png cat', ('line 7',)),
    ('images/train 0.png 1.5', ('line 7',)),
    ('images/train 0.png 99999999999999', ('line 7',)),
    ('images/train 0.png -1', ('label -1', 'out of range', '0 to 1')),
    ('images/train 0.png 7', ('label 2 never occurs', '7')),
    ('images/gone.png 1', ('images/gone.png', 'no such image', 'train.txt')),
])
def test_a_bad_line_is_named(tmp_path, line, parts):
  write_lists(tmp_path)
  with open(tmp_path / 'train.txt', 'a') as file:
    file.write(line + '\n')
  refused(tmp_path, *parts)


def test_a_label_beyond_the_training_classes_is_named(tmp_path):
  write_lists(tmp_path)
  with open(tmp_path / 'val.txt', 'a') as file:
    file.write('images/val 0.png 2\n')
  refused(tmp_path, 'val.txt', 'label 2 of images/val 0.png', '0 to 1')


def test_layouts_that_are_none(tmp_path):
  refused(tmp_path / 'missing', 'missing', 'no such folder')
  refused('', "data.path=''")
  refused(tmp_path, 'neither a list train.txt nor a folder train/<class>/')
  (tmp_path / 'train').mkdir()
  refused(tmp_path, 'no class folders')
  (tmp_path / 'train/cat').mkdir()
  refused(tmp_path, 'the train split is empty')
  shutil.rmtree(tmp_path / 'train')
  (tmp_path / 'train.txt').write_text('\n')
  refused(tmp_path, 'train.txt: an empty list')


def test_a_class_that_training_does_not_have_is_named(tmp_path):
  write_tree(tmp_path)
  write_image(tmp_path / 'test/cow/a.png')
  refused(tmp_path, "class folder 'cow'", 'cat, dog')


def test_the_fingerprint_holds_while_names_sizes_times_and_settings_do(tmp_path):
  write_lists(tmp_path / 'a')
  def mark(root='a', **options):
    return fingerprint(FolderSource(str(tmp_path / root), **options))

  first = mark()
  shutil.copytree(tmp_path / 'a', tmp_path / 'b', copy_function=shutil.copy2)
  assert first == mark() == mark('b')
  marks = {first, mark(image_size=4), mark(channel_names=('x', 'y', 'z'))}
  os.utime(tmp_path / 'a/images/train 1.png', ns=(1, 1))
  marks.add(mark())
  with open(tmp_path / 'a/images/train 1.png', 'ab') as file:
    file.write(b'more')
  os.utime(tmp_path / 'a/images/train 1.png', ns=(1, 1))
  marks.add(mark())
  text = (tmp_path / 'a/train.txt').read_text()
  (tmp_path / 'a/train.txt').write_text(text.replace('train 0.png 0', 'train 0.png 1'))
  marks.add(mark())
  assert len(marks) == 6

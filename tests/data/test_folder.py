import os
import shutil

import numpy as np
import pytest
import tifffile

from mils_jax.data.cache.building import fingerprint, open_dataset
from mils_jax.data.inputs import open_inputs
from mils_jax.data.sources import open_source
from mils_jax.data.sources.folder import FolderOptions, FolderSource
from mils_jax.data.sources.pixels import Reading
from mils_jax.data.sources.source import COLOUR, LISTED, Statement
from mils_jax.errors import UserError
from tests.data.fakes import folder_source, write_image, write_lists


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
    fingerprint(folder_source(root, **options))
  text = str(raised.value)
  assert '\n' not in text
  for part in parts:
    assert part in text


def test_lists_give_images_labels_and_paths(tmp_path):
  written = write_lists(tmp_path)
  source = folder_source(tmp_path)
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
  source = folder_source(tmp_path)
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
  assert folder_source(tmp_path, channel_names=('x', 'y', 'z')).channels == ('x', 'y', 'z')
  (tmp_path / 'channels.txt').write_text('red  reflectance x 10000\ngreen\nnir\tK\n')
  source = folder_source(tmp_path)
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
  source = folder_source(tmp_path)
  assert source.channels == ('c0', 'c1', 'c2', 'c3', 'c4')
  assert 'c0 to c4' in source.notes[0]


def test_class_names_from_a_file(tmp_path):
  write_lists(tmp_path)
  (tmp_path / 'classes.txt').write_text('0 n01 house finch\n1 n02 robin\n')
  assert folder_source(tmp_path).classes == ('n01 house finch', 'n02 robin')
  (tmp_path / 'classes.txt').write_text('finch\n3 toed sloth\nrobin\n')
  assert folder_source(tmp_path).classes == ('finch', '3 toed sloth', 'robin')


@pytest.mark.parametrize(('line', 'parts'), [
    ('images/new 0.png', ("line 7: 'images/new 0.png'", 'relative/path label')),
    ('lonely.png', ("line 7: 'lonely.png'",)),
    ('images/new 0.png cat', ("line 7: 'images/new 0.png cat'", 'a whole number as in the other lines')),
    ('images/new 0.png 1.5', ('line 7',)),
    ('images/new 0.png 99999999999999', ('line 7',)),
    ('images/new 0.png -1', ('label -1', 'out of range', '0 to 1')),
    ('images/new 0.png 7', ('label 2 never occurs', '7')),
    ('images/gone.png 1', ('images/gone.png', 'no such image', 'train.txt')),
])
def test_a_bad_line_is_named(tmp_path, line, parts):
  write_lists(tmp_path)
  write_image(tmp_path / 'images/new 0.png')
  with open(tmp_path / 'train.txt', 'a') as file:
    file.write(line + '\n')
  refused(tmp_path, *parts)


def test_a_label_beyond_the_training_classes_is_named(tmp_path):
  write_lists(tmp_path)
  with open(tmp_path / 'val.txt', 'a') as file:
    file.write('images/train 0.png 2\n')
  refused(tmp_path, 'val.txt', 'label 2 of images/train 0.png', '0 to 1')


def test_layouts_that_are_none(tmp_path):
  refused(tmp_path / 'missing', 'missing', 'no such folder')
  refused('', "data.path=''")
  refused(tmp_path, 'neither a list train.txt or train.csv, nor a folder train/<class>/, nor class folders')
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
    return fingerprint(folder_source(tmp_path / root, **options))

  first = mark()
  shutil.copytree(tmp_path / 'a', tmp_path / 'b', copy_function=shutil.copy2)
  assert first == mark() == mark('b')
  marks = {first, mark(size=4), mark(channel_names=('x', 'y', 'z'))}
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


def write_classes(root, suffix='png', classes=('cat', 'dog'), count=4):
  for number in range(count):
    for name in classes:
      write_image(root / name / f'{number}.{suffix}', seed=number)


@pytest.mark.parametrize('called', ['val', 'valid', 'Validation', 'dev'])
def test_a_validation_split_has_any_of_its_names(tmp_path, called):
  for split in ('Train', called, 'test'):
    write_classes(tmp_path / split)
  source = folder_source(tmp_path)
  assert source.splits == ('train', 'val', 'test')
  assert source.example_id('val', 0) == f'{called}/cat/0.png'
  write_lists(tmp_path)
  (tmp_path / 'val.txt').rename(tmp_path / f'{called.lower()}.txt')
  assert folder_source(tmp_path).example_id('val', 0) == 'images/val 0.png'


def test_two_folders_for_one_split_are_refused(tmp_path):
  for split in ('train', 'val', 'valid'):
    write_classes(tmp_path / split)
  refused(tmp_path, 'val and valid are all called like the val split')


def test_what_is_left_out_is_counted_and_named(tmp_path):
  written = write_tree(tmp_path)
  (tmp_path / 'train/cat/x.heic').write_bytes(b'x')
  write_image(tmp_path / 'train/lonely.png')
  write_classes(tmp_path / 'extra')
  source = folder_source(tmp_path)
  assert source.notes == (
      'train/: left out, because they lie in no class folder: .png (1), such as train/lonely.png',
      'train: left out, because they are no images that can be read: .md (1), .heic (1), such as train/cat/notes.md',
      'not used, because no split (train, val or test) is called so: extra/')
  assert sum(map(source.length, source.splits)) == len(written)


def test_a_list_of_lines_comes_before_the_table_beside_it(tmp_path):
  write_lists(tmp_path)
  for name in ('train.csv', 'train_old.txt', 'README.txt', 'classes.txt'):
    (tmp_path / name).write_text('a\nb\n')
  source = folder_source(tmp_path)
  assert source.length('train') == 6
  assert source.notes == ('not used, because no split (train, val or test) is called so: train.csv, train_old.txt',)


def test_class_folders_alone_are_a_training_split(tmp_path):
  write_classes(tmp_path, count=10)
  (tmp_path / 'empty').mkdir()
  write_image(tmp_path / 'test/unknown.png')
  source = open_source('folder', path=str(tmp_path))
  assert source.classes == ('cat', 'dog')
  assert [source.length(split) for split in ('train', 'val', 'test')] == [16, 2, 2]
  assert any('2 class folders and no split: cat, dog' in note for note in source.notes)
  assert any('test/: 1 images without labels' in note for note in source.notes)


def test_images_in_a_folder_that_is_no_class_have_no_labels_in_every_layout(tmp_path):
  write_classes(tmp_path / 'a/train')
  write_classes(tmp_path / 'b')
  for root in ('a', 'b'):
    write_image(tmp_path / root / 'test/images/1.png')
    assert ('test/: 1 images without labels (no class folders or list) are not used; the test split is cut from '
            'training') in folder_source(tmp_path / root).notes
    write_image(tmp_path / root / 'test/cat/1.png')
    refused(tmp_path / root, "class folder 'images' is not in the training split. Valid: cat, dog")


def test_a_table_is_one_in_capitals_too_and_class_folders_beside_it_are_not_reported_to_lack_labels(tmp_path):
  write_classes(tmp_path / 'val')
  (tmp_path / 'Train.CSV').write_text('path,label\nval/cat/0.png,cat\nval/dog/0.png,dog\n')
  source = folder_source(tmp_path)
  assert [source.example_id('train', row) for row in range(2)] == ['val/cat/0.png', 'val/dog/0.png']
  assert source.notes == ('val/: 8 images that have no list beside Train.CSV are not used; the val split is cut from '
                          'training',)
  refused(tmp_path, "unknown data.folder.label_column 'lable'", label_column='lable')


def test_every_folder_is_listed_once_and_what_is_only_noted_is_not_listed_at_all(tmp_path, monkeypatch):
  write_classes(tmp_path / 'classes')
  write_classes(tmp_path / 'trees/train')
  write_classes(tmp_path / 'trees/other')
  (tmp_path / 'trees/around').symlink_to(tmp_path)
  scanned, scandir = [], os.scandir
  monkeypatch.setattr(os, 'scandir', lambda path: scanned.append(os.fspath(path)) or scandir(path))
  folder_source(tmp_path / 'classes')
  assert len(scanned) == len(set(scanned)) == 3
  scanned.clear()
  assert folder_source(tmp_path / 'trees').notes == (
      'not used, because no split (train, val or test) is called so: other/',)
  assert not any('around' in path for path in scanned)
  assert len([path for path in scanned if 'other' in path]) == 2  # down to the first image


def test_a_folder_that_may_not_be_read_does_not_end_a_note(tmp_path, monkeypatch):
  write_classes(tmp_path / 'train')
  write_classes(tmp_path / 'lost+found')
  scandir = os.scandir

  def refuse(path):
    if 'lost+found' in os.fspath(path):
      raise PermissionError(13, 'Permission denied', path)
    return scandir(path)

  monkeypatch.setattr(os, 'scandir', refuse)
  assert folder_source(tmp_path).notes == ()


def test_a_test_folder_without_labels_is_reported(tmp_path):
  write_classes(tmp_path / 'train')
  write_image(tmp_path / 'test/1.png')
  source = folder_source(tmp_path)
  assert source.splits == ('train',)
  assert source.notes == ('test/: 1 images without labels (no class folders or list) are not used; the test split is '
                          'cut from training',)


@pytest.mark.parametrize(('text', 'labels'), [
    ('a b.png cat\nc.png dog\n', ['cat', 'dog']), ('a b.png,cat\nc.png, sea dog\n', ['cat', 'sea dog']),
    ('a b.png,0\nc.png,1\n', ['0', '1']), ('\ufeffa b.png 0\r\nc.png 1\r\n', ['0', '1'])])
def test_lists_of_names_and_with_commas(tmp_path, text, labels):
  for name in ('a b.png', 'c.png'):
    write_image(tmp_path / name)
  (tmp_path / 'train.txt').write_bytes(text.encode())
  source = folder_source(tmp_path)
  assert [source.example_id('train', row) for row in range(2)] == ['a b.png', 'c.png']
  assert [source.classes[label] for label in source.labels('train')] == labels
  assert len(source.inputs()) == 2


def test_names_in_a_list_follow_classes_txt_and_an_unknown_one_is_named(tmp_path):
  for name in ('a.png', 'b.png'):
    write_image(tmp_path / name)
  (tmp_path / 'train.txt').write_text('a.png dog\nb.png cat\n')
  (tmp_path / 'classes.txt').write_text('dog\ncat\n')
  assert folder_source(tmp_path).labels('train').tolist() == [0, 1]
  (tmp_path / 'val.txt').write_text('a.png dogs\n')
  refused(tmp_path, 'val.txt, line 1', "unknown class 'dogs'. Did you mean 'dog'?", 'Valid: dog, cat')
  (tmp_path / 'classes.txt').write_text('dog\ncat\ndog\n')
  refused(tmp_path, "classes.txt: names the class 'dog' 2 times; each class needs a name of its own")


def test_an_image_that_a_list_names_again_counts_once_and_has_one_class(tmp_path):
  for name in 'abcd':
    write_image(tmp_path / f'{name}.png')
  (tmp_path / 'train.csv').write_text('id,label,scene\na,cat,1\nb,dog,1\n./a.png,cat,1\na,cat,1\nc,dog,2\n'
                                      'd,dog,3\n')
  source = FolderSource(str(tmp_path), group_by='scene')
  ids = [source.example_id('train', row) for row in range(source.length('train'))]
  assert ids == ['a.png', 'b.png', 'c.png', 'd.png']
  assert source.labels('train').tolist() == [0, 1, 1, 1]
  assert source.groups('train').tolist() == ['1', '1', '2', '3']
  (tmp_path / 'train.csv').write_text('id,label,scene\na,cat,1\na,cat,2\n')
  with pytest.raises(UserError, match=r"line 3: a.png is '2' here and '1' in line 2; expected one group"):
    FolderSource(str(tmp_path), group_by='scene')
  assert 'train.csv: 2 lines name an image again, which counts once' in source.notes
  (tmp_path / 'train.csv').write_text('id,label\na,cat\nb,dog\na,dog\n')
  refused(tmp_path, "train.csv, line 4: a.png is 'dog' here and 'cat' in line 2; expected one class for each image")


def test_an_empty_label_is_no_class(tmp_path):
  for name in 'abc':
    write_image(tmp_path / f'{name}.png')
  (tmp_path / 'train.csv').write_text('id,label\na,cat\nb,\nc,dog\n')
  refused(tmp_path, 'train.csv, line 3: no label; expected the class of each image')
  (tmp_path / 'train.csv').write_text('id,label\na,cat\nb,dog\n')
  (tmp_path / 'test.csv').write_text('id,label\nc,\n')
  assert folder_source(tmp_path).notes[0].startswith('test.csv: 1 images without labels are not used')


@pytest.mark.parametrize('table', [
    'id,label\n1,cat\n2,dog\n', 'image_id;species\n1;cat\n2;dog\n', '1.png,cat\n2.png,dog\n',
    'label,path\ncat,train/1.png\ndog,train/2.png\n', 'filename,width,class\n1.png,10,cat\n2.png,10,dog\n'])
def test_a_table_names_images_by_path_name_or_id(tmp_path, table):
  for name in ('train/1.png', 'train/2.png', 'test/3.png'):
    write_image(tmp_path / name)
  (tmp_path / 'train.csv').write_text(table)
  (tmp_path / 'test.csv').write_text('id\n3\n')
  source = folder_source(tmp_path)
  assert [source.example_id('train', row) for row in range(2)] == ['train/1.png', 'train/2.png']
  assert [source.classes[label] for label in source.labels('train')] == ['cat', 'dog']
  assert source.splits == ('train',)
  assert source.notes[0].startswith('test.csv: 1 images without labels are not used')


def test_a_first_line_is_only_a_header_where_it_names_no_image(tmp_path):
  write_image(tmp_path / '0002.png')
  for text in ('gone.png,cat\n0002.png,dog\n', 'gone.png,y\n0002.png,x\n'):
    (tmp_path / 'train.csv').write_text(text)
    refused(tmp_path, 'train.csv', "'gone.png': no such image")
  write_image(tmp_path / '0003.png')
  (tmp_path / 'train.csv').write_text('0002,label\n0003,x\n')
  source = folder_source(tmp_path)
  assert (source.length('train'), source.classes) == (2, ('label', 'x'))
  (tmp_path / 'train.csv').write_text('0001,cat\n0002,dog\n')
  source = folder_source(tmp_path)
  assert source.length('train') == 1
  assert 'train.csv: its first line (0001,cat) was read as the names of its columns' in source.notes


def test_an_id_that_means_two_images_is_refused_and_hidden_files_mean_none(tmp_path):
  for name in ('train/cat/001.png', 'train/cat/002.png', 'train/.ipynb_checkpoints/002.png', 'train/dog/003.png'):
    write_image(tmp_path / name)
  (tmp_path / 'train.csv').write_text('id,label\n001,cat\n002,cat\n003,dog\n')
  assert [folder_source(tmp_path).example_id('train', row) for row in range(3)] == [
      'train/cat/001.png', 'train/cat/002.png', 'train/dog/003.png']
  for name in ('train/dog/001.png', 'train/dog/001.jpg'):
    write_image(tmp_path / name)
    refused(tmp_path, 'train.csv', "'001' may mean train/cat/001.png or train/dog/001")
    (tmp_path / name).unlink()


@pytest.mark.parametrize('text', [',path,label\n0,1.png,a\n1,2.png,b\n', 'path,label,\n1.png,a,\n2.png,b,\n'])
def test_a_column_without_a_name_is_none_of_groups(tmp_path, text):
  """As pandas writes the index of a table."""
  for number in (1, 2):
    write_image(tmp_path / f'{number}.png')
  (tmp_path / 'train.csv').write_text(text)
  source = folder_source(tmp_path)
  assert [source.classes[label] for label in source.labels('train')] == ['a', 'b']
  assert source.groups('train') is None


def test_listed_images_that_are_not_there_are_counted_and_may_be_left_out(tmp_path):
  written = write_lists(tmp_path)
  with open(tmp_path / 'train.txt', 'a') as file:
    file.write('images/gone.png 1\nimages/gone as well.png 0\n')
  source = folder_source(tmp_path)
  number = len(written) + 2
  refused(tmp_path, "'images/gone.png': no such image", f'2 of {number} files are not there; data.skip_damaged=true')
  dataset = open_dataset(source, tmp_path / 'cache', skip_damaged=True)
  assert sum(len(split) for split in dataset.splits.values()) == len(written)
  assert any(f'2 of {number} images were left out' in remark for remark in dataset.remarks)


def test_names_of_files_need_not_be_utf_8(tmp_path):
  for label in ('cat', 'dog'):
    for number in range(2):
      write_image(tmp_path / label / f'{number}.png', seed=number)
  try:
    os.rename(tmp_path / 'cat/1.png', os.fsencode(tmp_path) + b'/cat/caf\xe9.png')
  except OSError:
    pytest.skip('this file system takes names in UTF-8 alone')
  dataset = open_dataset(folder_source(tmp_path), tmp_path / 'cache')
  assert len(dataset.splits['train']) == 4
  os.rename(tmp_path / 'dog', os.fsencode(tmp_path) + b'/h\xfcnd')
  refused(tmp_path, 'the class folder', 'has no name in UTF-8')


def test_of_several_columns_of_labels_one_is_named(tmp_path):
  write_image(tmp_path / '1.png')
  (tmp_path / 'train.csv').write_text('id,genus,species\n1,a,b\n')
  refused(tmp_path, 'several columns may be the labels: genus, species', 'data.folder.label_column')
  assert folder_source(tmp_path, label_column='species').classes == ('b',)
  refused(tmp_path, "unknown data.folder.label_column 'genuss'. Did you mean 'genus'?", label_column='genuss')
  (tmp_path / 'train.csv').write_text('x,y\nz,1\n')
  refused(tmp_path, 'no column names images', 'x, y')
  (tmp_path / 'train.csv').write_text('id,label\n1,a\n2\n')
  refused(tmp_path, 'train.csv, line 3', 'another number of columns')
  (tmp_path / 'train.csv').write_text('id,label\n1,a\n7,b\n')
  refused(tmp_path, "'7'", 'no such image')


def test_class_folders_whose_images_cannot_be_read_are_noted(tmp_path):
  write_classes(tmp_path)
  for number in range(3):
    (tmp_path / 'lynx').mkdir(exist_ok=True)
    (tmp_path / 'lynx' / f'{number}.heic').touch()
  write_image(tmp_path / 'stray.png')
  (tmp_path / 'scripts').mkdir()
  (tmp_path / 'scripts' / 'a.py').touch()
  notes = folder_source(tmp_path).notes
  assert ('left out, because they hold no image that can be read: lynx/: .heic (3), such as lynx/0.heic') in notes
  assert 'left out, because they lie in no class folder: .png (1), such as stray.png' in notes
  assert not any('scripts' in note for note in notes)


def test_one_grey_image_first_does_not_make_the_set_grey(tmp_path):
  write_classes(tmp_path, count=6)
  write_image(tmp_path / 'cat/0.png', mode='L')
  write_image(tmp_path / 'dog/3.png', mode='RGBA')
  source = open_source('folder', path=str(tmp_path))
  assert source.channels == ('R', 'G', 'B')
  for split in ('train', 'val', 'test'):
    for index in range(source.length(split)):
      assert source.read(split, index)[0].shape == (10, 10, 3)
      remark = {'cat/0.png': 'grey image', 'dog/3.png': 'alpha'}.get(source.example_id(split, index))
      assert len(source.remarks(split, index)) == bool(remark)
      assert not remark or remark in source.remarks(split, index)[0]


def test_a_set_of_grey_images_is_grey(tmp_path):
  for number in range(4):
    for name in ('cat', 'dog'):
      write_image(tmp_path / name / f'{number}.png', mode='L')
  source = open_source('folder', path=str(tmp_path))
  assert (source.channels, source.read('train', 0)[0].shape) == (('grey',), (10, 10, 1))
  assert folder_source(tmp_path).channels == ('c0',)  # as it was before data.color existed
  assert folder_source(tmp_path, color='rgb').channels == ('R', 'G', 'B')


def test_damaged_images_are_all_named_the_first_one_too(tmp_path):
  write_classes(tmp_path, count=6)
  for name in ('cat/0.png', 'cat/3.png', 'dog/5.png'):
    (tmp_path / name).write_bytes(b'x')
  source = open_source('folder', path=str(tmp_path))
  with pytest.raises(UserError, match=r'3 of 12 images cannot be used.*cat/0\.png.*cat/3\.png.*dog/5\.png'):
    open_dataset(source, tmp_path / 'cache')


def write_mixed(root):
  """Three channels in one class, four in the other."""
  for number, (name, depth) in enumerate((('cat', 3), ('cat', 3), ('dog', 4), ('dog', 4))):
    (root / name).mkdir(exist_ok=True)
    np.save(root / name / f'{number}.npy', np.full((4, 4, depth), 1 + np.arange(depth), np.uint8))


def test_each_image_counts_with_its_own_channels_where_they_have_names(tmp_path):
  write_mixed(tmp_path)
  with pytest.raises(UserError, match=r'dog/2.npy: 4 channels without names; expected at most 3'):
    folder_source(tmp_path).read('train', 2)
  for source in (folder_source(tmp_path, ('R', 'G', 'B', 'nir')), listed_source(tmp_path, tmp_path, 'R\nG\nB\nnir\n')):
    assert source.channels == ('R', 'G', 'B', 'nir')
    three, four = source.read('train', 0)[0], source.read('train', 2)[0]
    assert np.ma.getmaskarray(three).all((0, 1)).tolist() == [False, False, False, True]
    assert three[0, 0, :3].tolist() == [1, 2, 3]
    assert not np.ma.is_masked(four)


def listed_source(root, folder, text):
  (folder / 'channels.txt').write_text(text)
  return folder_source(root)


def test_the_nearest_list_of_channels_counts_in_training_too(tmp_path):
  write_mixed(tmp_path)
  (tmp_path / 'channels.txt').write_text('R\nG\nB\nnir\n')
  source = listed_source(tmp_path, tmp_path / 'cat', 'nir um\nR\nswir\n')
  assert source.channels == ('R', 'G', 'B', 'nir', 'swir')
  assert source.units == ('', '', '', 'um', '')
  image = source.read('train', 0)[0]
  assert image[0, 0].tolist() == [2, None, None, 1, 3]
  assert source.read('train', 2)[0][0, 0].tolist() == [1, 2, 3, 4, None]


def test_a_changed_list_of_some_folders_channels_makes_another_dataset_cache(tmp_path):
  for name in ('cat', 'dog'):
    for number in range(6):
      (tmp_path / 'set' / name).mkdir(parents=True, exist_ok=True)
      np.save(tmp_path / f'set/{name}/{number}.npy', np.full((4, 4, 3), (1, 2, 3), np.uint8))
  (tmp_path / 'set/channels.txt').write_text('R\nG\nB\n')
  plain = fingerprint(folder_source(tmp_path / 'set'))
  seen = []
  for text in ('B\nG\nR\n', 'G\nB\nR\n'):
    (tmp_path / 'set/cat/channels.txt').write_text(text)
    dataset = open_dataset(open_source('folder', path=str(tmp_path / 'set')), tmp_path / 'cache')
    split = dataset.splits['train']
    seen.append(split.images[split.labels == 0][0, 0, 0].tolist())
  assert seen == [[3, 2, 1], [3, 1, 2]]
  (tmp_path / 'set/cat/channels.txt').unlink()
  assert fingerprint(folder_source(tmp_path / 'set')) == plain
  assert 'listings' not in folder_source(tmp_path / 'set').settings()


def test_sets_read_as_before_keep_their_fingerprint_and_others_do_not(tmp_path):
  write_lists(tmp_path)
  before, now = (FolderSource(str(tmp_path), Reading(nodata='none', metadata=metadata), options=FolderOptions(
      band_files='none')) for metadata in (False, True))
  assert before.settings().keys() == {'source', 'image_size', 'channel_axis', 'channels', 'units', 'classes'}
  assert fingerprint(before) != fingerprint(now)


def test_names_by_the_configuration_make_another_dataset_cache_than_the_same_names_in_files(tmp_path):
  write_lists(tmp_path)
  given = folder_source(tmp_path, ('x', 'y', 'z'))
  assert 'names_given' not in given.settings()
  (tmp_path / 'channels.txt').write_text('x\ny\nz\n')
  assert fingerprint(folder_source(tmp_path)) != fingerprint(folder_source(tmp_path, ('x', 'y', 'z')))


def write_band(path, level, size=8):
  path.parent.mkdir(parents=True, exist_ok=True)
  tifffile.imwrite(path, np.full((size, size), level, np.uint16))


def test_a_file_for_each_band_is_one_image(tmp_path):
  for name in ('cat', 'dog'):
    for tile in range(2):
      for level, band in enumerate(('B10', 'B02', 'B8A')):
        if (name, tile, band) != ('dog', 1, 'B8A'):
          write_band(tmp_path / name / f'tile{tile}_{band}.tif', level, 8 if band == 'B02' else 4)
  source = folder_source(tmp_path, size=4)
  assert source.channels == ('B02', 'B8A', 'B10')
  assert [source.example_id('train', row) for row in range(4)] == ['cat/tile0', 'cat/tile1', 'dog/tile0', 'dog/tile1']
  assert source.labels('train').tolist() == [0, 0, 1, 1]
  for given in ((), ('blue', 'nir', 'cirrus')):
    source = folder_source(tmp_path, given, size=4)
    assert source.channels == (given or ('B02', 'B8A', 'B10'))
    assert source.read('train', 0)[0][0, 0].tolist() == [1, 2, 0]
    assert source.read('train', 3)[0][0, 0].tolist() == [1, None, 0]
  assert len(source.inputs()) == 11
  assert any('11 files of one band each are 4 images: B02, B8A, B10' in note for note in source.notes)
  with pytest.raises(UserError, match=r'B8A.tif: 4 x 4 pixels, but another band has 8 x 8; data.image_size'):
    folder_source(tmp_path).read('train', 0)
  apart = folder_source(tmp_path, size=4, band_files='none')
  assert apart.length('train') == 11
  assert any("data.folder.band_files='{image}_{band}.tif'" in note for note in apart.notes)


def test_bands_by_a_pattern_of_ones_own(tmp_path):
  for name in ('cat', 'dog'):
    for band in ('red', 'nir'):
      write_band(tmp_path / name / f'{band}-1.tif', 1)
  source = folder_source(tmp_path, band_files='{band}-{image}.tif')
  assert (source.channels, source.length('train')) == (('nir', 'red'), 2)
  refused(tmp_path, 'data.folder.band_files', '{image} and {band}', band_files='{image}.tif')


def test_bands_of_an_image_stay_in_one_split_and_class(tmp_path):
  for band in ('B02', 'B03'):
    write_band(tmp_path / f'a_{band}.tif', 1)
  (tmp_path / 'train.txt').write_text('a_B02.tif 0\n')
  (tmp_path / 'val.txt').write_text('a_B03.tif 0\n')
  refused(tmp_path, 'some bands of a are in the val split, others in train')
  (tmp_path / 'val.txt').unlink()
  (tmp_path / 'train.txt').write_text('a_B02.tif 0\na_B03.tif 1\n')
  refused(tmp_path, 'the bands of a have different labels: [0, 1]')


def test_an_odd_file_in_one_split_leaves_the_bands_together_and_is_refused_itself(tmp_path):
  for split in ('train', 'val', 'test'):
    for name in ('cat', 'dog'):
      for level, band in enumerate(('B02', 'B03', 'B08'), 1):
        write_band(tmp_path / split / name / f't_{band}.tif', level)
  write_band(tmp_path / 'val/cat/t_SCL.tif', 99)
  source = folder_source(tmp_path)
  assert source.channels == ('B02', 'B03', 'B08')
  assert [source.example_id('val', row) for row in range(source.length('val'))] == [
      'val/cat/t', 'val/cat/t_SCL.tif', 'val/dog/t']
  assert source.read('val', 0)[0][0, 0].tolist() == [1, 2, 3]
  with pytest.raises(UserError, match=r't_SCL\.tif: one channel without a name, .*B02, B03, B08.*skip_damaged=true'):
    source.read('val', 1)
  inputs = open_inputs([str(tmp_path / 'val')], Reading())
  assert [name.rpartition('/')[2] for name in inputs.example_ids] == ['t', 't_SCL.tif', 't']
  with pytest.raises(UserError, match='one channel without a name'):
    inputs.read(1)


def test_sentinels_folders_of_resolutions_hold_bands_of_one_image(tmp_path):
  for name in ('cat', 'dog'):
    for folder, band in (('R10m', 'B02'), ('R20m', 'B05')):
      write_band(tmp_path / name / folder / f'T_{band}_{folder[1:]}.tif', 1)
  source = folder_source(tmp_path)
  assert [source.example_id('train', row) for row in range(source.length('train'))] == ['cat/T', 'dog/T']
  assert source.channels == ('B02', 'B05')


def test_of_a_band_at_several_resolutions_the_finest_counts_and_the_others_are_noted(tmp_path):
  for name in ('cat', 'dog'):
    for metres, bands in ((60, ('B01', 'B02', 'B05')), (10, ('B02',)), (20, ('B02', 'B05'))):
      for band in bands:
        write_band(tmp_path / name / f'R{metres}m' / f'T_{band}_{metres}m.tif', metres)
  source = folder_source(tmp_path, size=4)
  assert source.channels == ('B01', 'B02', 'B05')
  assert [source.read('train', row)[0][0, 0].tolist() for row in range(source.length('train'))] == [[60, 10, 20]] * 2
  note = 'left out, because the same bands are there at a finer resolution: 6 files, such as cat/R20m/T_B02_20m.tif'
  assert f'train: {note}' in source.notes
  inputs = open_inputs([str(tmp_path / 'cat')], Reading())
  assert inputs.read(0)[0].pixels[0, 0].tolist() == [60, 10, 20]
  assert any('at a finer resolution: 3 files' in note for note in inputs.notes)
  (tmp_path / 'train.txt').write_text('cat/R60m/T_B02_60m.tif 0\ncat/R10m/T_B02_10m.tif 1\ndog/R10m/T_B02_10m.tif 1\n')
  refused(tmp_path, 'the bands of cat/T have different labels: [0, 1]', size=4)
  (tmp_path / 'train.txt').unlink()
  write_band(tmp_path / 'cat' / 'T_B02_10m.tif', 1)
  refused(tmp_path, 'the band B02 of cat/T twice')


@pytest.mark.parametrize('names', [
    [f'patient{patient}_b{number}.tif' for patient in range(3) for number in range(1, 4)],
    ['a_B1.tif', 'b_B1.tif', 'b_B2.tif', 'c_B1.tif', 'c_B2.tif', 'c_B3.tif']])
def test_names_that_only_resemble_bands_leave_files_apart_and_are_noted(tmp_path, names):
  for name in ('cat', 'dog'):
    for file in names:
      write_band(tmp_path / name / file, 1)
  source = folder_source(tmp_path)
  assert source.length('train') == 2 * len(names)
  assert any('called like single bands' in note for note in source.notes)
  assert any('called like single bands' in note for note in open_inputs([str(tmp_path / 'cat')], Reading()).notes)


def test_wells_of_a_plate_are_no_bands(tmp_path):
  for well in ('A1', 'B1', 'B2'):
    for name in ('cat', 'dog'):
      write_band(tmp_path / name / f'plate_{well}.tif', 1)
  assert folder_source(tmp_path).length('train') == 6


@pytest.mark.parametrize('root', ['', 'train'])
def test_classes_txt_orders_class_folders_where_it_lists_just_these(tmp_path, root):
  write_classes(tmp_path / root, count=10)
  (tmp_path / 'classes.txt').write_text('dog\ncat\n')
  source = folder_source(tmp_path)
  assert source.classes == ('dog', 'cat')
  assert 'classes.txt orders the classes: dog is the first' in source.notes
  assert {source.example_id('train', row).split('/')[-2]: int(label)
          for row, label in enumerate(source.labels('train'))} == {'dog': 0, 'cat': 1}
  (tmp_path / 'classes.txt').write_text('n01 dog\nn02 cat\n')
  source = folder_source(tmp_path)
  assert source.classes == ('cat', 'dog')
  assert 'classes.txt is not used: n01 dog is no class folder' in source.notes
  (tmp_path / 'classes.txt').write_bytes(b'd\xf6g')
  assert any('classes.txt is not used: is no UTF-8 text' in note for note in folder_source(tmp_path).notes)


def test_what_the_files_state_of_channels_that_the_configuration_names_is_kept(tmp_path):
  for split in ('train', 'val'):
    for name in ('cat', 'dog'):
      write_image(tmp_path / split / name / '0.png', seed=1)
  given = ('nir', 'red', 'green')
  assert folder_source(tmp_path, channel_names=given).stated_channels == Statement(COLOUR, ('R', 'G', 'B'))
  (tmp_path / 'channels.txt').write_text('a\nb\nc\n')
  assert folder_source(tmp_path, channel_names=given).stated_channels == Statement(LISTED, ('a', 'b', 'c'))
  assert folder_source(tmp_path).stated_channels == Statement(COLOUR, ('R', 'G', 'B'))


def write_named(path, names, levels):
  """A TIFF whose channels, each of one level, have names in GDAL's tag, or none."""
  path.parent.mkdir(parents=True, exist_ok=True)
  items = ''.join(f'<Item name="DESCRIPTION" sample="{place}" role="description">{name}</Item>'
                  for place, name in enumerate(names))
  tags = [(42112, 's', 0, f'<GDALMetadata>{items}</GDALMetadata>', True)] if names else []
  image = np.broadcast_to(np.array(levels, np.uint16), (4, 4, len(levels)))
  tifffile.imwrite(path, image, photometric='minisblack', planarconfig='contig', extratags=tags)


def test_a_first_image_without_names_does_not_undo_those_of_the_others(tmp_path):
  for label in ('cat', 'dog'):
    write_named(tmp_path / label / '0.tif', (), (1, 2, 3, 4))
    write_named(tmp_path / label / '1.tif', ('nir', 'red', 'green', 'blue'), (1, 2, 3, 4))
    write_named(tmp_path / label / '2.tif', ('blue', 'green', 'red', 'nir'), (4, 3, 2, 1))
  source = folder_source(tmp_path)
  assert set(source.channels) == {'nir', 'red', 'green', 'blue'}
  seen = [dict(zip(source.channels, source.read('train', row)[0][0, 0].tolist(), strict=True)) for row in (1, 2)]
  assert seen == [{'nir': 1, 'red': 2, 'green': 3, 'blue': 4}] * 2


def test_names_that_no_other_image_has_are_not_dropped_in_silence(tmp_path):
  for number in range(7):
    for label in ('cat', 'dog'):
      names = ('nir', 'red', 'green', 'blue') if (label, number) == ('cat', 2) else ()
      write_named(tmp_path / label / f'{number}.tif', names, (1, 2, 3, 4))
  source = folder_source(tmp_path)
  assert source.channels == ('c0', 'c1', 'c2', 'c3')
  source.read('train', 2)
  assert source.remarks('train', 2) == (
      'channels called nir, red, green, blue were read as c0, c1, c2, c3, in order',)
  source.read('train', 3)
  assert source.remarks('train', 3) == ()


def test_names_in_a_file_that_the_configuration_contradicts_are_noted(tmp_path):
  for number, names in enumerate((('red', 'green'), ('blue', 'green'), ('HH', 'HV'))):
    items = ''.join(f'<Item name="DESCRIPTION" sample="{place}" role="description">{name}</Item>'
                    for place, name in enumerate(names))
    for split in ('train', 'val', 'test'):
      for label in ('cat', 'dog'):
        path = tmp_path / split / label / f'{number}.tif'
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.zeros((4, 4, 2), np.uint16), photometric='minisblack', planarconfig='contig',
                         extratags=[(42112, 's', 0, f'<GDALMetadata>{items}</GDALMetadata>', True)])
  source = FolderSource(str(tmp_path), Reading(), ('green', 'red'))
  remarks = []
  for index in range(3):
    source.read('train', index)
    remarks.append(source.remarks('train', index))
  assert remarks == [('channels called red, green were read as green, red, by data.channel_names',),
                     ('channels called blue, green were read as green, red, by data.channel_names',), ()]


def test_files_that_do_not_agree_state_nothing(tmp_path):
  """Which of them an image to classify is like cannot be known."""
  for split in ('train', 'val'):
    for number, mode in enumerate(('RGB', 'RGB', 'RGBA')):
      write_image(tmp_path / split / 'cat' / f'{number}.png', mode='RGB')
      write_image(tmp_path / split / 'dog' / f'{number}.png', mode=mode)
  source = FolderSource(str(tmp_path), Reading(color='as_is'), ('a', 'b', 'c', 'd'))
  assert source.stated_channels is None


@pytest.mark.parametrize(('pattern', 'files', 'groups'), [
    ('{group}_*.png', ['a/s_1_2.png', 'b/s_1_3.png', 'b/t_2.png'], ['s_1', 's_1', 't']),
    ('{group}_*_*.png', ['a/s_1_2.png', 'b/s_1_3.png'], ['s', 's']),
    ('{group}/*', ['a/p1/x.png', 'a/p2/x.png', 'b/deep/p1/y.png'], ['p1', 'p2', 'p1']),
    ('*-{group}.png', ['a/x-1.png', 'b/x-y-2.png'], ['1', 'y-2'])])
def test_groups_by_a_pattern_of_names(tmp_path, pattern, files, groups):
  for file in files:
    write_image(tmp_path / 'train' / file)
  source = FolderSource(str(tmp_path), group_by=pattern)
  assert source.groups('train').tolist() == groups


@pytest.mark.parametrize('allow_outside', [False, True])
def test_a_link_that_leads_in_a_circle_is_named(tmp_path, allow_outside):
  for name in ('a', 'b'):
    write_image(tmp_path / f'train/{name}/x.png')
  (tmp_path / 'train/a/b').symlink_to(tmp_path / 'train/b')  # which alone is none
  folder_source(tmp_path, allow_outside=allow_outside)
  (tmp_path / 'train/b/again').symlink_to(tmp_path / 'train')
  with pytest.raises(UserError, match=r'train/a/b/again/a: contains itself, by a link') as raised:
    folder_source(tmp_path, allow_outside=allow_outside)
  assert '\n' not in str(raised.value)


def test_groups_by_a_column_of_a_table(tmp_path):
  for number in range(6):
    write_image(tmp_path / f'{number}.png', number)
  (tmp_path / 'train.csv').write_text('id,kind,patient\n' + ''.join(f'{n},{"ab"[n % 2]},p{n // 2}\n' for n in range(6)))
  source = FolderSource(str(tmp_path), group_by='patient')
  assert source.groups('train').tolist() == ['p0', 'p0', 'p1', 'p1', 'p2', 'p2']
  assert source.labels('train').tolist() == [0, 1, 0, 1, 0, 1]  # the groups are not used as labels
  with pytest.raises(UserError, match=r"train.csv: unknown data.group_by 'patien'. Did you mean 'patient'"):
    FolderSource(str(tmp_path), group_by='patien')


def test_groups_that_are_not_there_are_refused(tmp_path):
  for name in ('s_1.png', 's_2.png', 'odd.png'):
    write_image(tmp_path / 'train/a' / name)
  with pytest.raises(UserError, match=r'train/a/odd.png does not match the pattern'):
    FolderSource(str(tmp_path), group_by='{group}_*.png').groups('train')
  with pytest.raises(UserError, match=r"data.group_by='scene': expected a column of train.csv, or a pattern"):
    FolderSource(str(tmp_path), group_by='scene')


def test_bands_of_one_image_are_of_one_group(tmp_path):
  for image, group in (('s1-a', 's1'), ('s1-b', 's1'), ('s2-a', 's2')):
    for band in ('B02', 'B03'):
      write_band(tmp_path / f'train/{"x" if group == "s1" else "y"}/{image}_{band}.tif', 1)
  for pattern in ('{group}-*', '{group}-*.tif'):
    source = FolderSource(str(tmp_path), group_by=pattern)
    assert source.groups('train').tolist() == ['s1', 's1', 's2']


def test_images_of_band_files_are_grouped_as_if_each_were_one_file(tmp_path):
  for image in ('scene0_0', 'scene0_1', 'scene1_0'):
    for band in ('B02', 'B03'):
      write_band(tmp_path / f'train/{image[5]}/{image}_{band}.tif', 1)
  source = FolderSource(str(tmp_path), group_by='{group}_*.tif')
  assert source.groups('train').tolist() == ['scene0', 'scene0', 'scene1']


def test_the_bands_of_an_image_are_of_one_group(tmp_path):
  for band in ('B02', 'B03'):
    write_band(tmp_path / f'tile_{band}.tif', 1)
  (tmp_path / 'train.csv').write_text('file,label,patient\ntile_B02.tif,a,1\ntile_B03.tif,a,2\n')
  with pytest.raises(UserError, match=r"train.csv: the bands of tile have different groups: \['1', '2'\]"):
    FolderSource(str(tmp_path), group_by='patient')


@pytest.mark.parametrize('column', ['file', 'label'])
def test_the_column_of_images_or_labels_is_none_of_groups(tmp_path, column):
  write_image(tmp_path / 'x.png')
  (tmp_path / 'train.csv').write_text('file,label,patient\nx.png,a,1\n')
  with pytest.raises(UserError, match=rf"data.group_by='{column}' is the column of the images or of the labels"):
    FolderSource(str(tmp_path), group_by=column)

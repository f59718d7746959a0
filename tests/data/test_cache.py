import contextlib
import dataclasses
import errno
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax import build
from mils_jax.channels import ChannelSpec
from mils_jax.data.cache import building, workers
from mils_jax.data.cache.building import fingerprint, open_dataset
from mils_jax.data.sources.folder import FolderSource
from mils_jax.data.sources.splits import EverySplit
from mils_jax.errors import RunError, UserError
from mils_jax.training.record import ModelSpec
from tests.data.fakes import MemorySource, WatchedSource, memory_source, wait_until, write_lists
from tests.runs import as_another_user

SPLITS = ('train', 'val', 'test')


def names(folder):
  """What lies in a cache, locks aside."""
  return sorted(path.name for path in folder.iterdir() if not path.name.endswith('.lock'))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(['uint8', 'int16', 'uint16', 'float32']), st.integers(1, 30), st.integers(1, 8),
       st.integers(1, 5), st.integers(1, 8))
def test_a_dataset_cache_holds_its_source(tmp_path_factory, dtype, train, height, channels, piece):
  source = memory_source(train, 3, 2, (height, 4, channels), dtype)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(building, 'PIECE_IMAGES', piece)
    dataset = open_dataset(source, tmp_path_factory.mktemp('cache'))
  assert (dataset.classes, dataset.channels) == (('a', 'b'), source.channels)
  assert dataset.image_shape == (height, 4, channels)
  for split in SPLITS:
    found = dataset.splits[split]
    assert found.images.dtype == dtype
    assert np.array_equal(found.images, source.images[split])
    assert found.labels.dtype == np.int32
    assert np.array_equal(found.labels, source.given_labels[split])
    assert found.example_ids.tolist() == [f'{split}/{index}' for index in range(len(found))]
  values = source.images['train'].astype(np.float64)
  np.testing.assert_allclose(dataset.mean, values.mean((0, 1, 2)), rtol=1e-9, atol=1e-9)
  np.testing.assert_allclose(dataset.std, values.std((0, 1, 2)), rtol=1e-6)


def test_a_constant_channel_has_a_std_of_one(tmp_path):
  source = memory_source()
  source.images['train'][..., 1] = 7
  dataset = open_dataset(source, tmp_path)
  assert (dataset.mean[1], dataset.std[1]) == (7, 1)
  assert dataset.std[0] > 1


@pytest.mark.parametrize('value', [0.1, 0.37, 1.2, 1e6])
def test_what_rounding_leaves_of_a_constant_channel_is_no_std(value, tmp_path):
  source = memory_source(500, shape=(16, 16, 3), dtype='float32')
  source.images['train'][..., 2] = value
  dataset = open_dataset(source, tmp_path)
  assert dataset.std[2] == 1
  assert dataset.mean[2] == pytest.approx(value)
  source = memory_source(60, shape=(16, 16, 3), dtype='float32')
  source.images['train'][..., 2] = value
  source.images['train'][3, 2, 1, 2] = np.nextafter(np.float32(value), np.float32(np.inf))
  assert open_dataset(source, tmp_path / 'rounded').std[2] == 1
  source.images['train'][::2, ..., 2] *= 1.001
  assert open_dataset(source, tmp_path / 'varied').std[2] == pytest.approx(0.0005 * value, rel=1e-2)


def test_the_second_time_nothing_is_read(tmp_path, monkeypatch):
  source = memory_source()
  first = open_dataset(source, tmp_path)
  monkeypatch.setattr(source, 'read', None, raising=False)
  monkeypatch.setattr(source, 'length', None, raising=False)
  again = open_dataset(source, tmp_path)
  assert again.folder == first.folder
  assert np.array_equal(again.splits['val'].images, first.splits['val'].images)
  with pytest.raises(ValueError, match='read-only'):
    again.splits['val'].images[0] = 0


def test_other_settings_make_another_dataset_cache(tmp_path):
  folders = set()
  for version in (0, 1):
    source = memory_source()
    source.version = version
    folders.add(open_dataset(source, tmp_path).folder)
  assert len(folders) == 2


def cut(path):
  with open(path, 'r+b') as file:
    file.truncate(os.path.getsize(path) - 7)


def change_last_byte(path):
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)


def older_version(path):
  path.write_text(json.dumps({**json.loads(path.read_text()), 'version': 0}))


@pytest.mark.parametrize(('file', 'damage', 'message'), [
    ('train/images.npy', cut, 'is damaged'),
    ('test/images.npy', os.remove, 'images.npy is missing'),
    ('val/labels.npy', change_last_byte, 'val/labels.npy has changed'),
    ('val/example_ids.npy', cut, 'val/example_ids.npy has changed'),
    ('manifest.json', cut, 'is damaged'),
    ('manifest.json', os.remove, 'manifest.json is missing'),
    ('manifest.json', older_version, 'has version 0, not 3'),
    ('manifest.json', lambda path: path.write_text('[]'), 'is damaged'),
    ('train/images.npy', lambda path: np.save(path, np.zeros((20, 4, 5, 3), np.int16)), 'of int16, not'),
])
def test_damage_or_another_version_is_reported_and_mended(tmp_path, capsys, file, damage, message):
  source = memory_source()
  folder = open_dataset(source, tmp_path).folder
  damage(folder / file)
  dataset = open_dataset(source, tmp_path)
  output = capsys.readouterr().out
  assert message in output
  assert 'building it again' in output
  assert len(output.splitlines()) == 1
  assert np.array_equal(dataset.splits['train'].images, source.images['train'])
  open_dataset(source, tmp_path)
  assert capsys.readouterr().out == ''


def test_notes_of_the_source_are_printed(tmp_path, capsys):
  source = memory_source()
  source.notes = ('channels: assumed',)
  open_dataset(source, tmp_path)
  assert capsys.readouterr().out == 'channels: assumed\n'


def broken_source(kind):
  source = memory_source()
  images = list(source.images['val'])
  images[2] = {'channels': images[2][..., :2], 'pixels': images[2][:3], 'type': images[2].astype(np.int16)}[kind]
  source.images['val'] = images
  return source


@pytest.mark.parametrize(('kind', 'parts'), [('channels', ('2 channels', 'has 3')), ('type', ('int16', 'uint8')),
                                             ('pixels', ('3 x 5 pixels', '4 x 5', 'data.image_size'))])
def test_the_first_odd_image_is_named_and_nothing_stays(tmp_path, kind, parts):
  with pytest.raises(UserError) as raised:
    open_dataset(broken_source(kind), tmp_path)
  assert str(raised.value).startswith('val[2]: ')
  assert all(part in str(raised.value) for part in parts)
  assert names(tmp_path) == []


def test_an_empty_split_is_named(tmp_path):
  with pytest.raises(UserError, match='the val split is empty'):
    open_dataset(memory_source(val=0), tmp_path)
  assert names(tmp_path) == []


def test_nonfinite_values_are_counted_for_each_channel(tmp_path):
  source = memory_source(dtype='float32')
  source.images['test'][3, 0, 0, 1] = np.inf
  source.images['train'][[4, 9], 0, 0, 0] = np.nan
  dataset = open_dataset(source, tmp_path)
  assert dataset.nonfinite == {'train': ([2, 0, 0], ['train[4]', '', '']), 'val': ([0, 0, 0], ['', '', '']),
                               'test': ([0, 1, 0], ['', 'test[3]', ''])}
  assert np.isfinite(dataset.mean).all()
  build.check_images(dataset, ('c2',))
  with pytest.raises(UserError, match=r'train: 2 in c0, first in train\[4\]; test: 1 in c1, .*nodata=nan'):
    build.check_images(dataset, ('c0', 'c1'))


def damaged_source(rows, train=20):
  source = memory_source(train)
  images = list(source.images['train'])
  for row in rows:
    images[row] = images[row][:, :2]
  source.images['train'] = images
  return source


def test_all_damaged_images_are_counted_and_the_first_twenty_named(tmp_path):
  with pytest.raises(UserError, match=r'^3 of 32 images cannot be used \(data.skip_damaged=.*train\[19\]: 4 x 2 pix'):
    open_dataset(damaged_source([2, 3, 19]), tmp_path)
  with pytest.raises(UserError, match=r'^25 of 52 images.*train\[20\].*; and 5 more$'):
    open_dataset(damaged_source(range(1, 26), train=40), tmp_path)
  assert names(tmp_path) == []


def test_damaged_images_are_left_out_where_that_is_asked_for(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(building, 'PIECE_IMAGES', 3)
  source = damaged_source([2, 3, 19])
  kept = [row for row in range(20) if row not in (2, 3, 19)]
  for _ in range(2):  # when it is built and when it is found again
    dataset = open_dataset(source, tmp_path, skip_damaged=True)
    assert '3 of 32 images were left out because they cannot be used: train[2]' in capsys.readouterr().out
  train, images = dataset.splits['train'], np.array([source.images['train'][row] for row in kept])
  assert np.array_equal(train.images, images)
  assert train.example_ids.tolist() == [f'train/{row}' for row in kept]
  assert np.array_equal(train.labels, source.given_labels['train'][kept])
  np.testing.assert_allclose(dataset.mean, images.mean((0, 1, 2)), rtol=1e-9)


def masked_source(dtype='int16'):
  """Pixels without data in the first training image; the last one and the first test image lack a channel."""
  source = memory_source(dtype=dtype)
  masks = {split: np.zeros(images.shape, bool) for split, images in source.images.items()}
  masks['train'][0, :2, 1, 0] = True
  masks['train'][19, ..., 2] = True
  masks['test'][0, ..., 1] = True
  source.images = {split: np.ma.masked_array(np.where(masks[split], -9999, images).astype(dtype), masks[split])
                   for split, images in source.images.items()}
  return source


@pytest.mark.parametrize('dtype', ['int16', 'float32'])
def test_pixels_without_data_stay_out_of_the_statistics_and_get_the_mean(tmp_path, capsys, dtype):
  source = masked_source(dtype)
  dataset = open_dataset(source, tmp_path)
  train = source.images['train'].astype(np.float64)
  np.testing.assert_allclose(dataset.mean, train.mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(dataset.std, train.std((0, 1, 2)), rtol=1e-6)
  assert np.array_equal(dataset.low, train.min((0, 1, 2)))
  expected = train.filled(np.rint(dataset.mean) if dtype == 'int16' else dataset.mean)
  np.testing.assert_allclose(dataset.splits['train'].images, expected, rtol=1e-6)
  output = capsys.readouterr().out
  assert 'nodata: 2 values without data were filled' in output
  assert '2 of 32 images lack some of the channels' in output
  present = np.ones((20, 3), bool)
  present[19, 2] = False
  assert np.array_equal(dataset.splits['train'].present, present)
  assert dataset.splits['test'].present[0].tolist() == [True, False, True]
  assert dataset.splits['val'].present.all()
  build.check_images(dataset, ('c0', 'c1'))
  with pytest.raises(UserError, match=r'test: 1 image has none of the channels c1, first test/0'):
    build.check_images(dataset, ('c1',))


def test_damaged_images_beside_pixels_without_data_leave_the_statistics_alone(tmp_path):
  source = memory_source(dtype='int16')
  source.images['train'] = source.images['train'] // 8 + 5000
  mask = np.zeros(source.images['train'].shape, bool)
  mask[:10, ..., 0] = True
  mask[5] = True
  train = source.images['train'] = np.ma.masked_array(source.images['train'], mask)
  dataset = open_dataset(source, tmp_path, skip_damaged=True)
  np.testing.assert_allclose(dataset.mean, train.mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(dataset.std, train.std((0, 1, 2)), rtol=1e-6)
  assert np.array_equal([dataset.low, dataset.high], [train.min((0, 1, 2)), train.max((0, 1, 2))])
  assert np.array_equal(dataset.fill, np.rint(dataset.mean))


def test_a_run_knows_its_data_by_the_content_where_damaged_images_were_left_out(tmp_path, monkeypatch):
  def spec(data):
    channels = ChannelSpec(data.channels, data.units, tuple(data.mean), tuple(data.std))
    return ModelSpec(channels, data.classes, data.image_shape[:2], data.fingerprint, data.channels,
                     data_content=data.content)

  now = open_dataset(damaged_source([2, 3, 19]), tmp_path, skip_damaged=True)
  monkeypatch.setattr(building, 'fingerprint', lambda *_: 'f' * 24)  # of an earlier rule
  before = open_dataset(damaged_source([2, 3, 19]), tmp_path, skip_damaged=True)
  assert before.folder != now.folder
  assert spec(before).was_made_for(spec(now))


def test_an_image_without_any_data_is_damaged(tmp_path):
  source = memory_source()
  mask = np.zeros(source.images['val'].shape, bool)
  mask[1] = True
  source.images['val'] = np.ma.masked_array(source.images['val'], mask)
  with pytest.raises(UserError, match=r'^val\[1\]: no pixel has any data'):
    open_dataset(source, tmp_path)


@pytest.mark.parametrize(('split', 'channel'), [('train', 0), ('val', 1)])
def test_a_channel_that_no_training_image_has_is_refused(tmp_path, split, channel):
  source = memory_source(dtype='float32')
  source.images[split][0, 0, 0, channel] = np.nan  # which excuses no other channel, and no other split
  mask = np.zeros(source.images['train'].shape, bool)
  mask[..., 1] = True
  source.images['train'] = np.ma.masked_array(source.images['train'], mask)
  with pytest.raises(UserError, match='no training image has any value in the channel c1'):
    open_dataset(source, tmp_path)


def test_the_content_is_that_of_pixels_labels_and_names(tmp_path):
  def content(change=lambda source: None, cache='a'):
    source = memory_source()
    change(source)
    source.version = hash(change)
    return open_dataset(source, tmp_path / cache).content

  def pixel(source):
    source.images['test'][1, 2, 3, 0] ^= 1

  def label(source):
    source.given_labels['val'][0] ^= 1

  def name(source):
    source.channels = ('R', 'G', 'nir')

  assert content() == content(cache='b')
  assert len({content(change) for change in (lambda source: None, pixel, label, name)}) == 4


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize('call', ['mils_jax.data.cache.pieces.open', 'os.posix_fallocate'])
def test_a_full_disk_is_one_line_and_nothing_half_written_stays(tmp_path, monkeypatch, code, call):
  def full(*_):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(call, full, raising=False)
  with pytest.raises(RunError) as raised:
    open_dataset(memory_source(), tmp_path)
  assert os.strerror(code) in str(raised.value)
  assert str(tmp_path) in str(raised.value)
  assert '\n' not in str(raised.value)
  assert names(tmp_path) == []


def test_a_cache_that_is_a_file_is_the_users_mistake(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='cannot use the cache'):
    open_dataset(memory_source(), tmp_path / 'file')


def test_a_dataset_cache_has_the_users_usual_permissions(tmp_path):
  (tmp_path / 'usual').mkdir()
  assert open_dataset(memory_source(), tmp_path / 'cache').folder.stat().st_mode == (tmp_path / 'usual').stat().st_mode


def test_a_dataset_cache_that_may_not_be_read_is_left_alone(tmp_path):
  folder = open_dataset(memory_source(), tmp_path).folder
  code = textwrap.dedent(f'''
      import pathlib
      from mils_jax.data.cache.building import open_dataset
      from tests.data.fakes import memory_source
      open_dataset(memory_source(), pathlib.Path({str(tmp_path)!r}))
      ''')
  folder.chmod(0o700)
  with as_another_user(folder) as prefix:
    done = subprocess.run([*prefix, sys.executable, '-c', code], capture_output=True, text=True, check=False)
  assert f'UserError: cannot use the cache {tmp_path}: Permission denied' in done.stderr
  assert done.stdout == ''  # neither called damaged nor built again


def many_images(root, **behaviour):
  write_lists(root, train=40, val=4, test=4)
  return WatchedSource(FolderSource(str(root)), root / 'readers', **behaviour)


def build_with(processes, source, cache):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(workers, 'available_cores', lambda: processes)
    patch.setattr(building, 'PIECE_IMAGES', 3)
    return open_dataset(source, cache)


def test_processes_build_the_same_bytes_as_one(tmp_path):
  source = many_images(tmp_path / 'images')
  alone = build_with(1, source, tmp_path / 'one')
  assert source.readers() == {str(os.getpid())}
  source.awaited = 3  # so that none has built everything before the other has started
  together = build_with(3, source, tmp_path / 'three')
  assert len(source.readers()) == 3
  assert multiprocessing.active_children() == []
  for file in ('manifest.json', *(f'{split}/{name}.npy' for split in SPLITS
                                  for name in ('images', 'labels', 'example_ids'))):
    assert (alone.folder / file).read_bytes() == (together.folder / file).read_bytes()
  assert sorted(path.name for path in together.folder.iterdir()) == ['manifest.json', 'test', 'train', 'val']


@pytest.mark.parametrize(('shape', 'dtype', 'expected'), [
    ((2, 2, 3), 'uint8', 256), ((1024, 256, 4), 'uint8', 4), ((1024, 1024, 1), 'float32', 1)])
def test_a_piece_has_at_most_256_images_and_4_mib(tmp_path, shape, dtype, expected):
  laid_out = building.lay_out(tmp_path / 'train', 'train', 600, np.empty(shape, dtype))
  assert [piece.stop - piece.start for piece in laid_out[:2]] == [expected] * 2


@pytest.mark.parametrize(('count', 'cores', 'expected'), [(7, 4, []), (8, 4, [1]), (15, 4, [2]), (16, 4, [3]),
                                                          (99, 4, [3]), (99, 1, [])])
def test_every_core_gets_a_process_if_there_are_four_pieces_for_each(tmp_path, monkeypatch, count, cores, expected):
  started = []

  def pool(workers, *_):
    started.append(workers)
    raise NotImplementedError

  monkeypatch.setattr(workers, 'available_cores', lambda: cores)
  monkeypatch.setattr(workers, 'ProcessPoolExecutor', pool)
  with (contextlib.suppress(NotImplementedError),
        workers.built_pieces(dataclasses.replace(memory_source(), decodes=True), [None] * count, tmp_path)):
    pass
  assert started == expected


def test_an_error_in_a_worker_is_the_users_line_and_the_first_in_order(tmp_path):
  source = many_images(tmp_path / 'images', awaited=3)
  for index in (35, 17, 22):
    (tmp_path / f'images/images/train {index}.png').write_bytes(b'broken')
  with pytest.raises(UserError, match=r'train 17\.png: does not decode'):
    build_with(3, source, tmp_path / 'cache')
  assert names(tmp_path / 'cache') == []


def test_a_worker_that_dies_is_a_failed_run(tmp_path):
  source = many_images(tmp_path / 'images', awaited=2, workers_die=True)
  with pytest.raises(RunError, match='a process that builds the dataset cache died') as raised:
    build_with(3, source, tmp_path / 'cache')
  assert '\n' not in str(raised.value)
  assert names(tmp_path / 'cache') == []
  assert multiprocessing.active_children() == []


def test_workers_do_not_import_jax(tmp_path):
  """Nor does the program's own module, which every worker imports."""
  source = many_images(tmp_path / 'images')
  (tmp_path / 'source').write_bytes(pickle.dumps(EverySplit(source.source, 0.1, 0.1, 0)))
  code = textwrap.dedent(f'''
      import runpy, sys
      runpy.run_path({str(Path(__file__).parents[2] / 'main.py')!r}, run_name='__mp_main__')
      import mils_jax.data.cache.workers as workers
      with open({str(tmp_path / 'source')!r}, 'rb') as file:
        workers.pickle.load(file)
      sys.exit('jax' in sys.modules)
      ''')
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def start_build(tmp_path):
  """A program that builds a dataset cache with two workers, none of which ever finishes; returns it and their ids."""
  write_lists(tmp_path / 'images', train=40)
  (tmp_path / 'program.py').write_text(textwrap.dedent(f'''
      import signal
      from pathlib import Path
      if __name__ == '__main__':
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
        from mils_jax.data.sources.folder import FolderSource
        from tests.data.fakes import WatchedSource
        from tests.data.test_cache import build_with
        root = Path({str(tmp_path)!r})
        source = WatchedSource(FolderSource(str(root / 'images')), root / 'readers', awaited=3, workers_wait=60)
        build_with(3, source, root / 'cache')
      '''))
  process = subprocess.Popen([sys.executable, str(tmp_path / 'program.py')], stderr=subprocess.PIPE, text=True,
                             env={**os.environ, 'PYTHONPATH': os.getcwd()}, start_new_session=True)
  readers = tmp_path / 'readers'
  wait_until(lambda: readers.is_dir() and len(list(readers.iterdir())) == 3)
  return process, [int(path.name) for path in readers.iterdir() if path.name != str(process.pid)]


def alive(pid):
  try:
    return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
  except FileNotFoundError:
    return False


def test_workers_end_when_their_parent_is_killed(tmp_path):
  process, ids = start_build(tmp_path)
  with process:
    assert all(alive(pid) for pid in ids)
    process.kill()
    wait_until(lambda: not any(alive(pid) for pid in ids))


def test_an_interrupt_ends_all_processes_soon_and_keeps_nothing(tmp_path):
  process, ids = start_build(tmp_path)
  with process:
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    assert process.stderr.read().count('Traceback') == 1  # the parent's own
    assert process.wait(60) == -signal.SIGINT
  assert not any(alive(pid) for pid in ids)
  assert names(tmp_path / 'cache') == []


def test_a_killed_build_leaves_nothing_that_the_next_one_keeps(tmp_path):
  code = textwrap.dedent(f'''
      import pathlib, time
      from mils_jax.data.cache.building import open_dataset
      from tests.data.fakes import memory_source
      source = memory_source()
      read = source.read
      def slow(split, index):
        if split == 'val':
          print('half way', flush=True)
          time.sleep(60)
        return read(split, index)
      source.read = slow
      open_dataset(source, pathlib.Path({str(tmp_path)!r}))
      ''')
  process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
  with process:
    assert process.stdout.readline() == b'half way\n'
    assert len(names(tmp_path)) == 1
    other = memory_source()
    other.version = 1
    kept = open_dataset(other, tmp_path).folder.name  # a build that is alive keeps its unfinished folder
    assert len(names(tmp_path)) == 2
    process.send_signal(signal.SIGKILL)
  other.version = 2
  last = open_dataset(other, tmp_path).folder.name
  assert names(tmp_path) == sorted([kept, last])


def test_two_processes_that_want_the_same_dataset_build_it_once(tmp_path):
  code = textwrap.dedent(f'''
      import pathlib, time
      from mils_jax.data.cache.building import open_dataset
      from tests.data.fakes import memory_source
      source = memory_source()
      read = source.read
      def slow(split, index):
        if (split, index) == ('val', 0):
          print('building', flush=True)
          time.sleep(1)
        return read(split, index)
      source.read = slow
      print(open_dataset(source, pathlib.Path({str(tmp_path)!r})).folder.name, flush=True)
      ''')
  processes = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
  output = ''.join(process.communicate()[0] for process in processes)
  assert output.count('building\n') == 1
  assert names(tmp_path) == [fingerprint(memory_source())]


def test_opening_again_reads_no_image(tmp_path, monkeypatch):
  open_dataset(memory_source(), tmp_path)
  load, mapped = np.load, {}

  def watched(path, mmap_mode=None, **options):
    mapped.setdefault(Path(path).stem, set()).add(mmap_mode)
    return load(path, mmap_mode=mmap_mode, **options)

  monkeypatch.setattr(np, 'load', watched)
  monkeypatch.setattr(MemorySource, 'read', lambda *_: pytest.fail('read an image'))
  open_dataset(memory_source(), tmp_path)
  assert (mapped['images'], mapped['example_ids'], mapped['labels']) == ({'r'}, {'r'}, {None})

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.data.cache import pieces, workers
from mils_jax.data.cache.building import fingerprint, open_dataset
from mils_jax.data.sources import open_source
from mils_jax.errors import RunError, UserError
from tests.data.fakes import memory_source, write_lists
from tests.runs import as_another_user

SPLITS = ('train', 'val', 'test')


def names(folder):
  """What lies in a cache, locks aside."""
  return sorted(path.name for path in folder.iterdir() if not path.name.endswith('.lock'))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(['uint8', 'int16', 'uint16', 'float32']), st.integers(1, 30), st.integers(1, 8),
       st.integers(1, 5), st.integers(1, 8))
def test_a_packed_set_is_its_source(tmp_path_factory, dtype, train, height, channels, piece):
  source = memory_source(train, 3, 2, (height, 4, channels), dtype)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr('mils_jax.data.cache.building.PIECE_IMAGES', piece)
    packed = open_dataset(source, tmp_path_factory.mktemp('cache'))
  assert (packed.classes, packed.channels, packed.image_shape) == (('a', 'b'), source.channels, (height, 4, channels))
  for split in SPLITS:
    found = packed.splits[split]
    assert found.images.dtype == dtype
    assert np.array_equal(found.images, source.images[split])
    assert found.labels.dtype == np.int32
    assert np.array_equal(found.labels, source.given_labels[split])
    assert found.example_ids.tolist() == [f'{split}/{index}' for index in range(len(found))]
  values = source.images['train'].astype(np.float64)
  np.testing.assert_allclose(packed.mean, values.mean((0, 1, 2)), rtol=1e-9, atol=1e-9)
  np.testing.assert_allclose(packed.std, values.std((0, 1, 2)), rtol=1e-6)


def test_a_constant_channel_has_deviation_one(tmp_path):
  source = memory_source()
  source.images['train'][..., 1] = 7
  packed = open_dataset(source, tmp_path)
  assert (packed.mean[1], packed.std[1]) == (7, 1)
  assert packed.std[0] > 1


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


def test_other_settings_are_another_set(tmp_path):
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


@pytest.mark.parametrize(('file', 'damage', 'said'), [
    ('train/images.npy', cut, 'is damaged'),
    ('test/images.npy', os.remove, 'images.npy is missing'),
    ('val/labels.npy', change_last_byte, 'val/labels.npy has changed'),
    ('val/example_ids.npy', cut, 'val/example_ids.npy has changed'),
    ('manifest.json', cut, 'is damaged'),
    ('manifest.json', os.remove, 'manifest.json is missing'),
    ('manifest.json', older_version, 'has version 0, not 1'),
    ('manifest.json', lambda path: path.write_text('[]'), 'is damaged'),
    ('train/images.npy', lambda path: np.save(path, np.zeros((20, 4, 5, 3), np.int16)), 'of int16, not'),
])
def test_damage_or_another_version_is_said_and_mended(tmp_path, capsys, file, damage, said):
  source = memory_source()
  folder = open_dataset(source, tmp_path).folder
  damage(folder / file)
  packed = open_dataset(source, tmp_path)
  output = capsys.readouterr().out
  assert said in output
  assert 'packing it again' in output
  assert len(output.splitlines()) == 1
  assert np.array_equal(packed.splits['train'].images, source.images['train'])
  open_dataset(source, tmp_path)
  assert capsys.readouterr().out == ''


def test_notes_of_the_source_are_said(tmp_path, capsys):
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


def test_values_that_are_not_finite_are_counted_and_can_be_allowed(tmp_path):
  source = memory_source(dtype='float32')
  source.images['test'][3, 0, 0, 1] = np.inf
  source.images['train'][[4, 9], 0, 0, 0] = np.nan
  with pytest.raises(UserError, match=r'train: 2, first in train\[4\]; test: 1, first in test\[3\]'):
    open_dataset(source, tmp_path)
  packed = open_dataset(source, tmp_path, allow_nonfinite=True)
  assert packed.nonfinite == {'train': (2, 'train[4]'), 'val': (0, ''), 'test': (1, 'test[3]')}
  assert np.isfinite(packed.mean).all()


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize('call', ['pwrite', 'posix_fallocate'])
def test_a_full_disk_is_one_line_and_nothing_half_written_stays(tmp_path, monkeypatch, code, call):
  def full(*_):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(os, call, full)
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


def test_a_packed_set_has_the_users_usual_permissions(tmp_path):
  (tmp_path / 'usual').mkdir()
  assert open_dataset(memory_source(), tmp_path / 'cache').folder.stat().st_mode == (tmp_path / 'usual').stat().st_mode


def test_a_packed_set_that_may_not_be_read_is_left_alone(tmp_path):
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
  assert done.stdout == ''  # neither called damaged nor packed again


def many_images(root):
  write_lists(root, train=40, val=4, test=4)
  return open_source('folder', path=str(root))


def with_processes(patch, count=3):
  patch.setattr(workers, 'available_cores', lambda: count)
  patch.setattr('mils_jax.data.cache.building.PIECE_IMAGES', 3)


def test_processes_give_the_same_bytes_as_one(tmp_path, monkeypatch):
  source = many_images(tmp_path / 'images')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(workers, 'available_cores', lambda: 1)
    patch.setattr('mils_jax.data.cache.building.PIECE_IMAGES', 3)
    alone = open_dataset(source, tmp_path / 'one')
  with_processes(monkeypatch)
  started = []
  monkeypatch.setattr(workers.subprocess, 'Popen', counting(workers.subprocess.Popen, started))
  together = open_dataset(source, tmp_path / 'three')
  assert len(started) == 2
  assert all(process.poll() is not None for process in started)
  for file in ('manifest.json', *(f'{split}/{name}.npy' for split in SPLITS
                                  for name in ('images', 'labels', 'example_ids'))):
    assert (alone.folder / file).read_bytes() == (together.folder / file).read_bytes()


def counting(function, calls):
  def call(*arguments, **options):
    calls.append(function(*arguments, **options))
    return calls[-1]

  return call


def test_an_error_in_a_process_is_the_users_line_and_the_first_in_order(tmp_path, monkeypatch):
  source = many_images(tmp_path / 'images')
  for index in (35, 17, 22):
    (tmp_path / f'images/images/train {index}.png').write_bytes(b'broken')
  with_processes(monkeypatch)
  with pytest.raises(UserError, match=r'train 17\.png: does not decode'):
    open_dataset(source, tmp_path / 'cache')
  assert names(tmp_path / 'cache') == []


def test_a_process_that_dies_is_a_failed_run(tmp_path, monkeypatch):
  source = many_images(tmp_path / 'images')
  with_processes(monkeypatch)
  popen = workers.subprocess.Popen

  def dying(command, **options):
    return popen([sys.executable, '-c', 'import os; os._exit(9)'], **options)

  monkeypatch.setattr(workers.subprocess, 'Popen', dying)
  with pytest.raises(RunError, match='a packing process died'):
    open_dataset(source, tmp_path / 'cache')
  assert names(tmp_path / 'cache') == []


def test_packing_processes_do_not_import_jax():
  code = 'import sys, mils_jax.data.cache.pack_worker, mils_jax.data.sources; sys.exit("jax" in sys.modules)'
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_a_killed_packing_leaves_nothing_that_the_next_one_keeps(tmp_path):
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
    kept = open_dataset(other, tmp_path).folder.name  # a packing that is alive keeps its unfinished folder
    assert len(names(tmp_path)) == 2
    process.send_signal(signal.SIGKILL)
  other.version = 2
  last = open_dataset(other, tmp_path).folder.name
  assert names(tmp_path) == sorted([kept, last])


def test_two_processes_that_want_the_same_set_pack_it_once(tmp_path):
  code = textwrap.dedent(f'''
      import pathlib, time
      from mils_jax.data.cache.building import open_dataset
      from tests.data.fakes import memory_source
      source = memory_source()
      read = source.read
      def slow(split, index):
        if (split, index) == ('val', 0):
          print('packing', flush=True)
          time.sleep(1)
        return read(split, index)
      source.read = slow
      print(open_dataset(source, pathlib.Path({str(tmp_path)!r})).folder.name, flush=True)
      ''')
  processes = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
  output = ''.join(process.communicate()[0] for process in processes)
  assert output.count('packing\n') == 1
  assert names(tmp_path) == [fingerprint(memory_source())]


def test_a_hundred_thousand_images_open_in_under_a_second(tmp_path):
  source = memory_source(100_000, 10, 10, (1, 1, 1))
  open_dataset(source, tmp_path)
  start = time.perf_counter()
  open_dataset(source, tmp_path)
  assert time.perf_counter() - start < 1


def test_reading_counts_the_values_that_are_not_finite():
  images = np.zeros((3, 2, 2, 1), np.float32)
  images[1, :, 0] = np.nan
  assert pieces.count_not_finite(images).tolist() == [0, 2, 0]

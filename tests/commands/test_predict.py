"""`--mode predict` as its users meet it: images in, a CSV out."""

import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import mils_jax
from mils_jax import build
from mils_jax.cli import main
from mils_jax.commands import predict as command
from mils_jax.data.sources import images
from mils_jax.run_config import saved_config
from mils_jax.training.run_folder import RunFolder

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 255, (20, 24, 4), np.uint8)


@pytest.fixture(scope='module')
def run(small_runs, tmp_path_factory):
  return shutil.copytree(small_runs['wide_cnn'], tmp_path_factory.mktemp('predict') / 'wide_cnn')


@pytest.fixture(scope='module')
def classifier(run):
  return mils_jax.load(run)


def predict(run, path, *words):
  return main(['main.py', '--mode=predict', f'--workdir={run}', f'--input={path}', *words])


def rows(path):
  with open(path, newline='') as file:
    return list(csv.DictReader(file))


def test_each_file_of_a_folder_counts_with_its_own_channels(run, classifier, tmp_path, capsys):
  folder = tmp_path / 'images'
  (folder / 'bands').mkdir(parents=True)
  Image.fromarray(PHOTO[..., :3]).save(folder / 'colour.png')
  Image.fromarray(PHOTO).save(folder / 'alpha.png')
  Image.fromarray(PHOTO[..., 0]).save(folder / 'grey.png')
  np.save(folder / 'two.npy', PHOTO[..., :2])
  (folder / 'bands' / 'channels.txt').write_text('B nm\nnir nm\nR nm\n')
  np.save(folder / 'bands' / 'three.npy', PHOTO[..., :3])
  assert predict(run, folder, f'--output={tmp_path / "out.csv"}', '--all_classes') == 0
  found = rows(tmp_path / 'out.csv')
  grey = np.repeat(PHOTO[..., :1], 3, axis=-1)
  expected = {'alpha.png': (PHOTO, 'RGB-', ''), 'bands/three.npy': (PHOTO[..., :3], 'B-R', 'G'),
              'colour.png': (PHOTO[..., :3], 'RGB', ''), 'grey.png': (grey, 'RGB', ''),
              'two.npy': (PHOTO[..., :2], 'RG', 'B')}
  assert [row['file'] for row in found] == [f'{folder}/{name}' for name in expected]
  for row, (image, channels, missing) in zip(found, expected.values(), strict=True):
    probabilities = classifier(image, channels)[0]
    assert row['class'] == classifier.classes[probabilities.argmax()]
    assert row['missing'] == missing
    assert row['error'] == ''
    written = [float(row[f'p({name})']) for name in classifier.classes]
    np.testing.assert_allclose(written, probabilities, rtol=1e-5)
    assert float(row['probability']) == max(written)
  out = capsys.readouterr().out
  assert 'a grey image was read as a colour image whose R, G and B are equal (1 of 5 images)' in out
  assert 'the alpha channel was left out (1 of 5 images)' in out
  assert 'left out, because the model has no channel of this name: nir (1 of 5 images)' in out
  assert 'channels without names filled the first channels: R, G (1 of 5 images)' in out
  assert '5 images classified; of ' in out
  assert 'channels missing: ' in out
  assert 'G (1 of 5 images)' in out
  assert f'saved as {tmp_path / "out.csv"}' in out


def test_a_row_for_every_image_and_a_failure_for_those_that_cannot_be_read(run, tmp_path, capsys):
  folder = tmp_path / 'images'
  folder.mkdir()
  Image.fromarray(PHOTO[..., :3]).save(folder / 'b.png')
  (folder / 'a.png').write_bytes(b'no image')
  np.save(folder / 'c.npy', np.full((16, 16, 3), np.nan, np.float32))
  np.save(folder / 'd.npy', PHOTO[..., [0, 1, 2, 3, 0]])
  assert predict(run, folder) == 1
  found = rows(run / 'predictions-images.csv')
  assert [bool(row['class']) for row in found] == [False, True, False, False]
  assert found[0]['error'] == 'does not decode: not an image that Pillow knows'
  assert 'non-finite' in found[2]['error']
  assert '5 channels without names' in found[3]['error']
  said = capsys.readouterr()
  assert f'not classified: {folder}/a.png: does not decode' in said.out
  assert said.err.startswith('failed: 3 images could not be classified')
  assert not list(run.glob('*.tmp'))


def test_arrays_are_classified_in_batches(run, classifier, tmp_path):
  images = RNG.integers(0, 255, (70, 16, 16, 3), np.uint8)
  np.savez(tmp_path / 'set.npz', test_images=images, channels=['B', 'G', 'R'], test_labels=np.zeros(70))
  np.save(tmp_path / 'set.npy', images)
  assert predict(run, tmp_path / 'set.npz', f'--output={tmp_path / "named.csv"}') == 0
  assert predict(run, tmp_path / 'set.npy', f'--output={tmp_path / "given.csv"}', '--channels=B,G,R') == 0
  named, given = rows(tmp_path / 'named.csv'), rows(tmp_path / 'given.csv')
  assert [row['file'] for row in named] == [f'test_images[{row}]' for row in range(70)]
  probabilities = classifier(images[..., ::-1])
  np.testing.assert_allclose([float(row['probability']) for row in named], probabilities.max(axis=1), rtol=1e-5)
  assert [row['class'] for row in named] == [classifier.classes[best] for best in probabilities.argmax(axis=1)]
  assert [list(row.values())[1:] for row in named] == [list(row.values())[1:] for row in given]


def test_threads_leave_the_filters_of_warnings_alone(run, tmp_path, monkeypatch):
  Image.fromarray(PHOTO[..., :3]).save(tmp_path / 'a.png')
  monkeypatch.setattr(images, 'decoders_settled', None)  # what reading one image would enter
  assert predict(run, tmp_path, f'--output={tmp_path / "out.csv"}') == 0


def test_folders_of_the_same_name_keep_a_file_each(run, tmp_path):
  for folder in ('a', 'b'):
    (tmp_path / folder / 'photos').mkdir(parents=True)
    Image.fromarray(PHOTO[..., :3]).save(tmp_path / folder / 'photos' / 'x.png')
    assert predict(run, tmp_path / folder / 'photos') == 0
  for folder, name in (('a', 'predictions-photos.csv'), ('b', 'predictions-photos-2.csv')):
    assert [row['file'] for row in rows(run / name)] == [f'{tmp_path}/{folder}/photos/x.png']


def test_values_without_a_finite_result_are_a_failure_of_their_row(run, tmp_path, capsys):
  images = RNG.integers(0, 255, (3, 16, 16, 3)).astype(np.float32)
  images[1, ::2] = -3.4e38
  np.save(tmp_path / 'set.npy', images)
  assert predict(run, tmp_path / 'set.npy', f'--output={tmp_path / "out.csv"}') == 1
  first, second, third = rows(tmp_path / 'out.csv')
  assert first['class']
  assert third['class']
  assert (second['class'], second['probability']) == ('', '')
  assert second['error'].startswith("the network's outputs are not finite: its values go from -3.4e+38 to ")
  assert '2 images classified' in capsys.readouterr().out


def test_a_channel_without_any_value_is_missing_and_nothing_is_filled(run, tmp_path, capsys):
  images = RNG.integers(0, 255, (2, 16, 16, 3)).astype(np.float32)
  images[..., 0] = np.nan
  np.save(tmp_path / 'set.npy', images)
  assert predict(run, tmp_path / 'set.npy', f'--output={tmp_path / "out.csv"}', '--config.data.nodata=nan') == 0
  said = capsys.readouterr().out
  assert 'R (2 of 2 images)' in said
  assert 'were filled' not in said
  images[0, 0, 0, 1] = np.nan
  np.save(tmp_path / 'set.npy', images)
  assert predict(run, tmp_path / 'set.npy', f'--output={tmp_path / "out.csv"}', '--config.data.nodata=nan') == 0
  assert 'were filled' in capsys.readouterr().out


def test_names_of_files_need_not_be_utf_8(run, tmp_path):
  (tmp_path / 'old').mkdir()
  for name in (b'caf\xe9.png', b'b.png'):
    path = os.fsencode(tmp_path) + b'/old/' + name
    try:
      with open(path, 'wb') as file:
        Image.fromarray(PHOTO[..., :3]).save(file, 'PNG')
    except OSError:
      pytest.skip('this file system takes names in UTF-8 alone')
  assert predict(run, tmp_path / 'old', f'--output={tmp_path / "out.csv"}') == 0
  assert b'caf\xe9.png,' in (tmp_path / 'out.csv').read_bytes()


def test_a_prediction_that_begins_during_another_keeps_a_file_of_its_own(run, tmp_path, monkeypatch):
  for folder in ('first', 'second'):
    (tmp_path / folder / 'same').mkdir(parents=True)
    Image.fromarray(PHOTO[..., :3]).save(tmp_path / folder / 'same' / 'x.png')
  shown = command.bar

  def second_begins(*words):
    monkeypatch.setattr(command, 'bar', shown)
    assert predict(run, tmp_path / 'second' / 'same') == 0
    return shown(*words)

  monkeypatch.setattr(command, 'bar', second_begins)
  assert predict(run, tmp_path / 'first' / 'same') == 0
  for folder, name in (('first', 'predictions-same.csv'), ('second', 'predictions-same-2.csv')):
    assert [row['file'] for row in rows(run / name)] == [f'{tmp_path}/{folder}/same/x.png']


def save(**arrays):
  return lambda path: np.savez(path, **arrays)


def save_photo(path):
  np.save(path, PHOTO[..., :3])


MISTAKES = {
    'no file': ('x.png', lambda path: None, [], 'no such file or folder'),
    'empty folder': ('x', lambda path: path.mkdir(), [], 'no images in it'),
    'no image': ('x.txt', lambda path: path.write_text('x'), [], 'no image that can be read. Valid: .jpg'),
    'unknown name': ('x.npy', save_photo, ['--channels=R,G,X'], "unknown channel 'X'. Valid: R, G, B"),
    'name twice': ('x.npy', save_photo, ['--channels=R,R,G'], "channel 'R' is given twice"),
    'nothing named': ('x.npy', save_photo, ['--channels= '], 'no channel is named. Valid: R, G, B'),
    'empty name': ('x.npy', save_photo, ['--channels=,'], "unknown channel ''. Valid: R, G, B"),
    'no name': ('x.npy', save_photo, ['--channels=-,-,-'], 'none of the channels -, -, - is one that the model'),
    'other count': ('x.npy', save_photo, ['--channels=R,G'], '2 channel names (R, G) for images of 3 channels'),
    'output': ('x.npy', save_photo, ['--output=x.png'], 'expected a file .csv'),
    'no images': ('x.npz', save(x=PHOTO), [], 'it holds x'),
    'objects': ('x.npz', save(images=np.array([{}])), [], 'images does not load'),
    'nothing common': ('x.npz', save(images=PHOTO[None], bands=list('wxyz')), [],
                       "its channels are w, x, y, z, the model's R, G, B: none fits"),
}


@pytest.mark.parametrize('case', MISTAKES)
def test_a_mistake_is_one_line_with_exit_code_2_and_leaves_no_file(run, case, tmp_path, capsys):
  name, make, words, message = MISTAKES[case]
  make(tmp_path / name)
  before = sorted(run.iterdir())
  assert predict(run, tmp_path / name, *words) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert sorted(run.iterdir()) == before


def test_without_an_input_or_a_checkpoint_there_is_nothing_to_predict(run, tmp_path, capsys):
  assert main(['main.py', '--mode=predict', f'--workdir={run}']) == 2
  assert 'needs --input' in capsys.readouterr().err
  (tmp_path / 'config.json').write_bytes((run / 'config.json').read_bytes())
  assert predict(tmp_path, tmp_path) == 2
  assert 'has no checkpoint yet' in capsys.readouterr().err
  assert predict(tmp_path / 'untrained', tmp_path, '--config=configs/task_a.py') == 2
  assert 'is no run folder' in capsys.readouterr().err


def test_images_in_other_units_and_of_another_size_are_told(run, tmp_path, capsys):
  for size, scale, count in ((16, 1, 20), (16, 12, 20), (16, 12, 15), (24, 1, 15)):
    folder = tmp_path / f'{size} {scale} {count}'
    folder.mkdir()
    for number in range(count):
      Image.fromarray(RNG.integers(0, 255 // scale, (size, size, 3)).astype(np.uint8)).save(folder / f'{number}.png')
    assert predict(run, folder, f'--output={tmp_path / "out.csv"}') == 0
    out = capsys.readouterr().out
    assert ('and the spread' in out) == (scale > 1 and count >= 16)
    assert 'the central square was resized' not in out  # as those of training were, to this size
    assert predict(run, folder, f'--output={tmp_path / "out.csv"}', '--config.data.image_size=0') == 0
    resized = f'not 16 x 16 pixels as the training images: the central square was resized ({count} of {count} images)'
    assert (resized in capsys.readouterr().out) == (size != 16)


def test_another_set_in_other_units_is_told(run, tmp_path, capsys):
  data = build.open_data(saved_config(RunFolder(run)))
  values = {'classes': np.array(data.classes), 'channels': np.array(data.channels)}
  for name, split in data.splits.items():
    values |= {f'{name}_images': np.asarray(split.images) // 12, f'{name}_labels': np.asarray(split.labels)}
  np.savez(tmp_path / 'dark.npz', **values)
  other = ['main.py', '--mode=evaluate', f'--workdir={run}', '--config.data.source=arrays',
           f'--config.data.path={tmp_path / "dark.npz"}', f'--output={tmp_path / "dark"}']
  assert main(other) == 0
  assert 'are they in the same units?' in capsys.readouterr().out

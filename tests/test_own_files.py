"""What people arrive with, from their files to the answer: one set as PNG whose channels are named in channels.txt."""

import csv
import json
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

import mils_jax
from mils_jax import build
from mils_jax.cli import main
from mils_jax.distributed import processes
from mils_jax.metrics.predictions import Predictions
from mils_jax.training.run_folder import RunFolder

COUNTS = {'train': 12, 'val': 4, 'test': 4}
CLASSES = ('cat', 'dog')


def write_set(root, mode='RGB'):
  """Noise, brighter in the first channel (cat) or the second (dog)."""
  random = np.random.default_rng(0)
  for split, count in COUNTS.items():
    for channel, name in enumerate(CLASSES):
      (root / split / name).mkdir(parents=True)
      for number in range(count):
        image = random.integers(0, 60, (16, 16, 3), np.uint8)
        image[..., channel] += 150
        Image.fromarray(image).convert(mode).save(root / split / name / f'{number}.png')
  (root / 'channels.txt').write_text('NIR\nR\nG\n')


def command(root, set_path, *words):
  return main(['main.py', '--config=configs/task_b.py', f'--workdir={root / "run"}', '--config.data.source=folder',
               f'--config.data.path={set_path}', '--config.model.stages=2', '--config.model.width=8',
               '--config.train.batch_size=8', '--config.train.epochs=2', f'--config.runtime.cache={root / "cache"}',
               *words])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  root = tmp_path_factory.mktemp('own')
  write_set(root / 'set')
  assert command(root, root / 'set') == 0
  return root


@pytest.fixture
def copied(trained, tmp_path):
  """The run with the set elsewhere: the same files, written anew."""
  shutil.copytree(trained, tmp_path / 'all', ignore=shutil.ignore_patterns('set'))
  shutil.copytree(trained / 'set', tmp_path / 'all/moved', copy_function=shutil.copy)
  return tmp_path / 'all'


def images_of_test(root):
  """The test images by their paths beneath the set."""
  return {str(path.relative_to(root)): np.asarray(Image.open(path)) for path in sorted((root / 'test').rglob('*.png'))}


def as_npy(images, folder):
  for name, image in images.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save((folder / name).with_suffix('.npy'), image)
  return folder


def as_tiff(images, folder):
  for name, image in images.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite((folder / name).with_suffix('.tif'), image, photometric='minisblack', planarconfig='contig')
  return folder


def as_npz(images, folder):
  folder.mkdir()
  np.savez(folder / 'set.npz', test_images=np.stack(list(images.values())))
  return folder / 'set.npz'


def predicted(run, path, target, *words):
  assert main(['main.py', '--mode=predict', f'--workdir={run}', f'--input={path}', f'--output={target}',
               '--all_classes', *words]) == 0
  with open(target, newline='') as file:
    return np.array([[float(row[f'p({name})']) for name in CLASSES] for row in csv.DictReader(file)])


@pytest.mark.parametrize('form', [lambda images, folder: None, as_npy, as_tiff, as_npz])
def test_predict_equals_the_runs_own_test(trained, tmp_path, form, capsys):
  own = Predictions.load(trained / 'run/predictions.npz')
  path = form(images_of_test(trained / 'set'), tmp_path / 'other') or trained / 'set/test'
  found = predicted(trained / 'run', path, tmp_path / 'out.csv')
  expected = np.exp(own.logits) / np.exp(own.logits).sum(1, keepdims=True)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  assert 'channels missing: none' in capsys.readouterr().out


def test_values_of_another_unit_are_warned_of(trained, tmp_path, capsys):
  images = np.stack(list(images_of_test(trained / 'set').values()))
  for name, changed in {'share': images / np.float32(255), 'sixteen': images.astype(np.uint16) * 257}.items():
    np.save(tmp_path / f'{name}.npy', changed)
    predicted(trained / 'run', tmp_path / f'{name}.npy', tmp_path / 'out.csv')
    assert 'are they in the same units? (8 of 8 images)' in capsys.readouterr().out
    classifier = mils_jax.load(trained / 'run')
    with pytest.warns(UserWarning, match=r'of the training data \(0 to 2\d\d\): are they in the same units'):
      classifier(changed)
    classifier(changed)  # once is enough: warnings are errors here
  mils_jax.load(trained / 'run')(images)


def test_a_copy_elsewhere_is_the_same_data(copied, capsys):
  results = (copied / 'run/results.json').read_bytes()
  for path in (copied / 'moved', f'{copied / "moved"}/'):
    assert command(copied, path) == 0
    assert 'is finished; this is its result' in capsys.readouterr().out
    assert command(copied, path, '--mode=evaluate') == 0
    assert (copied / 'run/evaluation/test').is_dir()
    assert command(copied, path, '--mode=subsets') == 0
  (copied / 'run/results.json').unlink()
  assert command(copied, copied / 'moved') == 0
  assert 'resuming from step 6' in capsys.readouterr().out
  assert json.loads((copied / 'run/results.json').read_text())['test'] == json.loads(results)['test']
  assert RunFolder(copied / 'run').read_config()['data']['path'] == str(copied / 'moved')


def test_several_processes_compare_moved_data_together_and_claim_the_folder_as_one(copied, monkeypatch, capsys):
  first, open_data = processes.value_of_first, build.open_data
  inside: list[str] = []
  asked: list[str] = []

  def value_of_first(name, make):
    asked.append(name)
    inside.append(name)
    try:
      return first(name, make)
    finally:
      inside.pop()

  def opened(*arguments, **options):
    assert not inside, 'the others would wait, as opening the data takes all processes'
    return open_data(*arguments, **options)

  monkeypatch.setattr(processes, 'value_of_first', value_of_first)
  monkeypatch.setattr(build, 'open_data', opened)
  assert command(copied, copied / 'moved') == 0
  assert 'is finished; this is its result' in capsys.readouterr().out
  Image.new('RGB', (16, 16)).save(copied / 'moved/train/cat/0.png')
  assert command(copied, copied / 'moved') == 2
  assert asked == ['results', 'owner'] * 2
  (copied / 'run/results.json').unlink()
  assert command(copied, copied / 'moved') == 2
  assert asked[-1] == 'claim'


def test_changed_data_is_still_refused(copied, capsys):
  Image.new('RGB', (16, 16)).save(copied / 'moved/train/cat/0.png')
  assert command(copied, copied / 'moved') == 2
  assert 'belongs to another configuration: data.path is' in capsys.readouterr().err
  (copied / 'run/results.json').unlink()
  assert command(copied, copied / 'moved') == 2
  assert 'belongs to another configuration: data.path is' in capsys.readouterr().err
  assert command(copied, copied / 'moved', '--mode=subsets') == 2
  assert 'this is not the data that the run was trained on' in capsys.readouterr().err


def test_images_that_a_run_was_trained_on_are_not_tested_as_all_of_another_dataset(tmp_path, capsys):
  """However its splits would be cut, and under another path."""
  write_set(tmp_path / 'whole')
  (tmp_path / 'set').symlink_to(tmp_path / 'whole/train')  # class folders alone
  assert command(tmp_path, tmp_path / 'set') == 0
  for name, *words in (('set',), ('set', '--config.data.seed=1', '--config.data.val_fraction=0.3'), ('whole/train',),
                       ('set', '--config.data.group_by={group}.png')):
    assert command(tmp_path, tmp_path / name, '--mode=evaluate', '--split=all', *words) == 2
    assert 'the run was trained on most of this dataset' in capsys.readouterr().err
  shutil.copy(tmp_path / 'whole/channels.txt', tmp_path / 'whole/test')
  assert command(tmp_path, tmp_path / 'whole/test', '--mode=evaluate', '--split=all') == 0
  assert 'of 8; 95% interval' in capsys.readouterr().out


def test_more_epochs_for_a_finished_run_name_the_way(trained, capsys):
  assert command(trained, trained / 'set', '--config.train.epochs=3') == 2
  assert f'--config.train.init_from={trained / "run"}' in capsys.readouterr().err


def test_the_command_of_an_older_run_resumes_it(tmp_path, capsys):
  """Options that came later have other defaults, but not for a run from before them.

  Its images have an alpha channel, which data.color=as_is kept, and no digest of the content makes up for a mistake.
  """
  write_set(tmp_path / 'set', 'RGBA')
  (tmp_path / 'set/channels.txt').write_text('NIR\nR\nG\nA\n')
  before = ['--config.data.color=as_is', '--config.data.nodata=none', '--config.data.metadata=ignore',
            '--config.data.folder.band_files=none', '--config.train.epochs=1']
  assert command(tmp_path, tmp_path / 'set', *before) == 0
  config = json.loads((tmp_path / 'run/config.json').read_text())
  later = ('color', 'nodata', 'metadata', 'skip_damaged')
  config['data'] = {name: value for name, value in config['data'].items() if name not in later}
  del config['data']['folder']['band_files']
  (tmp_path / 'run/config.json').write_text(json.dumps(config))
  results = json.loads((tmp_path / 'run/results.json').read_text())
  del results['data_content']
  (tmp_path / 'run/results.json').write_text(json.dumps(results))
  capsys.readouterr()
  assert command(tmp_path, tmp_path / 'set', '--config.train.epochs=1') == 0
  assert 'is finished; this is its result' in capsys.readouterr().out
  (tmp_path / 'run/results.json').unlink()
  assert command(tmp_path, tmp_path / 'set', '--config.train.epochs=1') == 0
  assert 'resuming from step 3' in capsys.readouterr().out


def test_evaluation_takes_any_number_of_devices(trained, tmp_path, capsys):
  assert command(trained, trained / 'set', '--mode=evaluate', '--config.runtime.devices=3',
                 f'--output={tmp_path / "evaluation"}') == 0
  found = Predictions.load(tmp_path / 'evaluation/predictions.npz')
  np.testing.assert_allclose(found.logits, Predictions.load(trained / 'run/predictions.npz').logits, atol=1e-5)


def test_images_that_lack_a_channel_train_and_predict(tmp_path, capsys):
  """Three and four channels in one set: each image's own count, without any filling in."""
  write_set(tmp_path / 'set')
  for path in sorted((tmp_path / 'set').rglob('*.png')):
    image = np.asarray(Image.open(path))
    odd = int(path.stem) % 2
    np.save(path.with_suffix('.npy'), np.concatenate([image, image[..., :1]], -1) if odd else image)
    path.unlink()
  (tmp_path / 'set/channels.txt').write_text('NIR\nR\nG\nB\n')
  assert command(tmp_path, tmp_path / 'set', '--config.train.epochs=1') == 0
  output = capsys.readouterr().out
  assert 'channels without names filled the first channels: NIR, R, G (20 of 40 images)' in output
  assert '20 of 40 images lack some of the channels' in output
  own = Predictions.load(tmp_path / 'run/predictions.npz')
  found = predicted(tmp_path / 'run', tmp_path / 'set/test', tmp_path / 'out.csv')
  expected = np.exp(own.logits) / np.exp(own.logits).sum(1, keepdims=True)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  assert 'channels missing: B (4 of 8 images)' in capsys.readouterr().out
  assert command(tmp_path, tmp_path / 'set', '--mode=subsets', '--config.train.epochs=1') == 0
  assert '(4 to 8 of 8)' in capsys.readouterr().out
  counts = {tuple(row['channels']): row['count'] for row in
            json.loads((tmp_path / 'run/subsets.json').read_text())['subsets']}
  assert (counts['B',], counts['NIR',], counts['R', 'B'], len(counts)) == (4, 8, 8, 15)
  assert command(tmp_path, tmp_path / 'set', f'--workdir={tmp_path / "mixed"}', '--config.augment.mixup_alpha=0.2') == 2
  assert 'some images lack channels that others have' in capsys.readouterr().err

"""The program as its users meet it: the command line in, files, one line or a result out."""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import mils_jax
from mils_jax import cli
from mils_jax.cli import main
from mils_jax.command_line import parse, run_name
from mils_jax.errors import UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.progress import log

ROOT = Path(__file__).parent.parent
TINY = ['--config.data.shapes.num_train=90', '--config.data.shapes.num_val=21', '--config.data.shapes.num_test=41',
        '--config.data.image_size=16', '--config.train.batch_size=20', '--config.train.epochs=2',
        '--config.model.width=16', '--config.model.stages=2']


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp() / 'cache'))
  monkeypatch.chdir(ROOT)


def run(*words, config='task_b'):
  return main(['main.py', '--config', f'configs/{config.replace(":", ".py:", 1) if ":" in config else config + ".py"}',
               *map(str, words)])


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A finished run, trained through the command line in a process of its own."""
  folder = tmp_path_factory.mktemp('runs') / 'a run'
  done = subprocess.run([sys.executable, 'main.py', '--config=configs/task_b.py', f'--workdir={folder}', *TINY],
                        cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  return folder, done


def test_a_run_ends_with_a_result_that_a_person_can_read(finished):
  folder, done = finished
  results = json.loads((folder / 'results.json').read_text())
  out = done.stdout
  correct, count = results['test']['correct'], results['test']['count']
  assert count == 41
  assert f'test accuracy   {correct / count:.2%} ({correct} of 41; 95% interval' in out
  assert f'everything in   {folder}' in out
  assert f"\n  python main.py --mode predict --workdir '{folder}' --input IMAGES\n" in out
  assert 'epoch 2/2: training loss' in out
  assert 'Traceback' not in done.stderr


def test_a_run_folder_holds_what_was_seen(finished):
  folder, _ = finished
  metrics = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
  assert [line['epoch'] for line in metrics] == [1, 2]
  assert [line['step'] for line in metrics] == [5, 10]
  assert all(line['train_count'] == 90 and line['val_count'] == 21 for line in metrics)
  results = json.loads((folder / 'results.json').read_text())
  best = max(metrics, key=lambda line: line['val_correct'])
  assert results['validation']['correct'] == best['val_correct']
  with np.load(folder / 'predictions.npz') as predictions:
    assert len(set(predictions['example_id'])) == 41
    assert (predictions['logits'].argmax(1) == predictions['label']).sum() == results['test']['correct']
  assert json.loads((folder / 'config.json').read_text())['train']['batch_size'] == 20
  assert json.loads((folder / 'run.json').read_text())['versions']['jax']
  assert len((folder / 'timings.jsonl').read_text().splitlines()) == 2
  assert list(folder.glob('events.out.tfevents.*'))


def test_the_same_command_again_shows_the_result_and_trains_nothing(finished, capsys):
  folder, _ = finished
  before = (folder / 'metrics.jsonl').read_bytes()
  assert run('--workdir', folder, *TINY) == 0
  out = capsys.readouterr().out
  assert 'is finished; this is its result' in out
  assert 'test accuracy' in out
  assert (folder / 'metrics.jsonl').read_bytes() == before


def test_evaluating_a_run_folder_gives_its_result_again(finished, capsys):
  folder, _ = finished
  results = json.loads((folder / 'results.json').read_text())
  assert main(['main.py', '--mode', 'evaluate', '--workdir', str(folder)]) == 0
  correct = results['test']['correct']
  out = capsys.readouterr().out
  assert f'({correct} of 41;' in out
  assert f"\n  python main.py --mode subsets --workdir '{folder}'\n" in out


def test_evaluating_writes_scores_and_a_page_for_any_split(finished, capsys):
  folder, _ = finished
  assert main(['main.py', '--mode', 'evaluate', '--workdir', str(folder), '--split=val']) == 0
  out = capsys.readouterr().out
  results = json.loads((folder / 'results.json').read_text())
  assert f'val accuracy    {results["validation"]["rate"]:.2%} ({results["validation"]["correct"]} of 21;' in out
  assert 'no longer in the cache' not in (folder / 'evaluation/val/report.html').read_text()
  with np.load(folder / 'evaluation/val/predictions.npz') as predictions:
    assert len(predictions['label']) == 21
  assert main(['main.py', '--mode', 'evaluate', '--workdir', str(folder), '--split=tset']) == 2
  assert "unknown --split 'tset'. Did you mean 'test'? Valid: train, val, test" in capsys.readouterr().err


def test_evaluating_writes_into_the_folder_that_output_names_and_takes_no_others_place(finished, tmp_path, capsys):
  folder = shutil.copytree(finished[0], tmp_path / 'run', ignore=shutil.ignore_patterns('evaluation'))
  evaluate = ['main.py', '--mode=evaluate', f'--workdir={folder}']
  for split in ('val', 'test'):  # the second in the place of the first
    assert main([*evaluate, f'--split={split}', f'--output={tmp_path / "new/out"}']) == 0
    assert json.loads((tmp_path / 'new/out/evaluation.json').read_text())['split'] == split
  assert f'figures in      {tmp_path / "new/out/report.html"}' in capsys.readouterr().out
  assert not (folder / 'evaluation').exists()
  before = (folder / 'predictions.npz').read_bytes()
  assert main([*evaluate, '--split=val', f'--output={folder}']) == 2
  assert f'--output {folder} holds something other than an evaluation' in capsys.readouterr().err
  assert (folder / 'predictions.npz').read_bytes() == before
  assert main([*evaluate, f'--output={folder / "config.json"}']) == 2
  assert 'config.json cannot be written: File exists' in capsys.readouterr().err


def test_what_a_run_is_tested_on_is_changed_without_its_configuration(finished, tmp_path, capsys):
  folder = shutil.copytree(finished[0], tmp_path / 'run', ignore=shutil.ignore_patterns('evaluation', 'subsets.*'))
  evaluate = ['main.py', f'--workdir={folder}', '--config.data.shapes.num_test=30']
  assert main([*evaluate, '--mode=evaluate']) == 0
  assert ' of 30;' in capsys.readouterr().out
  assert main([*evaluate[:2], '--mode=subsets', '--config.evaluation.subsets=B,R;G']) == 0
  found = json.loads((folder / 'subsets.json').read_text())['subsets']
  assert [row['channels'] for row in found] == [['G'], ['R', 'B']]
  assert 'mean over the 2 subsets' in capsys.readouterr().out
  for word, message in (('--config.train.epochs=9', 'belongs to another configuration'),
                        ('--config.data.pth=x', "unknown config field 'data.pth'. Did you mean 'data.path'"),
                        ('--config.data.seed=x', 'invalid literal for int()')):
    assert main([*evaluate[:2], '--mode=evaluate', word]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


def test_evaluating_on_another_set_needs_its_classes(finished, tmp_path, capsys):
  folder, _ = finished
  other = [*TINY, '--workdir', folder, '--mode=evaluate']
  assert run(*other, '--config.data.seed=1') == 0
  assert '(' in capsys.readouterr().out
  (page,) = (folder / 'evaluation').glob('test-*/report.html')
  assert page.stat().st_size
  np.savez(tmp_path / 'set.npz', classes=['cat', 'dog'], **{
      f'{split}_{name}': values for split in ('train', 'val', 'test')
      for name, values in (('images', np.zeros((4, 16, 16, 3), np.uint8)), ('labels', np.array([0, 1, 0, 1])))})
  assert run(*other, '--config.data.source=arrays', f'--config.data.path={tmp_path / "set.npz"}',
             '--config.data.channel_names=R,G,B') == 2
  error = capsys.readouterr().err
  assert 'the data has classes that the model was not trained on: cat, dog. Valid: ' in error


def test_lost_predictions_are_made_again_as_the_report_says(finished, tmp_path, capsys):
  folder, _ = finished
  before = Predictions.load(folder / 'predictions.npz')
  report = ['main.py', '--mode=report', f'--runs={folder.parent}/*', f'--workdir={tmp_path / "out"}']
  (folder / 'predictions.npz').unlink()
  assert main(report) == 2
  command = re.search("Make it: python (main.py .*--workdir) '(.*)'", capsys.readouterr().err)
  assert main([*command[1].split(), command[2]]) == 0
  np.testing.assert_allclose(Predictions.load(folder / 'predictions.npz').logits, before.logits, atol=1e-4)
  assert main(report) == 0
  assert f'read it: {tmp_path / "out/report.html"}' in capsys.readouterr().out
  assert '## Errors' in (tmp_path / 'out/report.md').read_text()


def test_a_report_takes_no_config_and_needs_runs(tmp_path, capsys):
  assert main(['main.py', '--mode=report', '--config=configs/task_b.py']) == 2
  assert '--mode report takes no --config' in capsys.readouterr().err
  assert main(['main.py', '--mode=report', f'--runs={tmp_path}/*']) == 2
  assert f"no run matches --runs '{tmp_path}/*'" in capsys.readouterr().err


def test_a_non_finite_loss_ends_the_run_with_one_line(tmp_path, capsys):
  words = ['--workdir', tmp_path / 'run', *TINY, '--config.optimizer.learning_rate=1e30',
           '--config.optimizer.warmup_epochs=0']  # so that the first step spoils the second
  assert run(*words) == 1
  error = capsys.readouterr().err.strip()
  assert error.startswith('failed: the loss was non-finite in step 2. ')
  assert '\n' not in error
  assert 'No checkpoint had been saved yet' in error
  assert not (tmp_path / 'run' / 'results.json').exists()


def test_a_damaged_best_checkpoint_names_the_commands_that_mend_it(finished, tmp_path, capsys):
  folder = shutil.copytree(finished[0], tmp_path / 'a run')
  (best,) = (folder / 'checkpoints' / 'best').iterdir()
  shutil.rmtree(best / 'variables')
  evaluate = ['main.py', '--mode', 'evaluate', '--workdir', str(folder)]
  assert main(evaluate) == 1
  error = capsys.readouterr().err
  assert error.count('\n') == 1
  remove, train = re.search(r'(rm -rf .*) && python (.*)', error).groups()
  subprocess.run(shlex.split(remove), check=True)
  assert main(shlex.split(train)) == 0
  assert main(evaluate) == 0


def test_a_run_on_some_channels_keeps_its_input_channels_and_its_size(tmp_path, capsys):
  assert run('--workdir', tmp_path / 'run', *TINY, '--config.channels.use=RB', '--config.train.epochs=1') == 0
  results = json.loads((tmp_path / 'run' / 'results.json').read_text())
  assert results['channels'] == ['R', 'B']
  assert results['input_channels'] == ['R', 'G', 'B']
  assert 'channels R, B (missing: G)' in capsys.readouterr().out
  assert main(['main.py', '--mode=evaluate', f'--workdir={tmp_path / "run"}', '--split=val']) == 0
  assert 'channels R, B (missing: G)' in capsys.readouterr().out
  scores = json.loads((tmp_path / 'run/evaluation/val/evaluation.json').read_text())['scores']
  assert scores == results['validation']
  assert mils_jax.load(tmp_path / 'run').missing('RGB') == ('G',)


def test_cost_touches_no_data_where_the_config_states_classes_and_channels(tmp_path, capsys):
  words = ['--mode=cost', '--workdir', tmp_path / 'run', '--config.data.path=/nowhere', '--config.data.image_size=32',
           '--config.model.width=8']
  assert run(*words, config='task_b:mini_imagenet') == 0
  assert 'XLA, ' not in capsys.readouterr().out  # which would take a minute
  assert run(*words, '--xla', config='task_b:mini_imagenet') == 0
  cost = json.loads((tmp_path / 'run' / 'cost.json').read_text())
  assert cost['image_shape'] == [32, 32, 3]
  macs = sum(cost['mixes'][0]['macs'].values())
  out = capsys.readouterr().out
  assert f'MACs {macs:,}' in out
  assert 'XLA, training step' in out
  assert cost['mixes'][0]['training']['flops'] > cost['mixes'][0]['inference']['flops'] > 2 * macs


def test_inspecting_shows_the_set_and_leaves_a_folder_that_can_be_trained_in(tmp_path, capsys):
  assert run('--mode=inspect', '--workdir', tmp_path / 'run', *TINY) == 0
  out = capsys.readouterr().out
  assert 'train 90, val 21, test 41 images of 16 x 16, 3 channels of uint8' in out
  assert 'warning: ' in out  # under ten images of a class
  assert f'next: train on it:\n  python main.py --workdir {tmp_path / "run"}\n' in out
  assert len(list((tmp_path / 'run' / 'inspection' / 'sheets').glob('*.png'))) == 20
  assert run('--workdir', tmp_path / 'run', *TINY) == 0


WRONG = {
    'field': (['--config.train.epoch=3'], "unknown config field 'train.epoch'. Did you mean 'train.epochs'?"),
    'section': (['--config.training.epochs=3'], "unknown config field 'training'"),
    'switched off': (['--noconfig.bogus'], "unknown config field 'bogus'"),
    'word after a switch': (['--config.optimizer.decay_all', 'false'],
                            "'false' stands after --config.optimizer.decay_all, which is a switch; expected "
                            '--config.optimizer.decay_all=true or'),
    'word after a second switch': (['--config.name', 'false', '--noconfig.optimizer.decay_all', 'false'],
                                   "'false' stands after --noconfig.optimizer.decay_all, which is a switch; expected "
                                   '--config.optimizer.decay_all=true or'),
    'no subset': (['--config.channel_dropout.method=hierarchical', '--config.channel_dropout.subsets=;'],
                  "';' names no subset"),
    'field of a value': (['--config.train.epochs.x=3'], "unknown config field 'train.epochs.x'"),
    'number': (['--config.train.epochs=many'], 'train.epochs=many'),
    'flag': (['--workdri=x'], "unknown flag '--workdri'. Did you mean '--workdir'? Valid: --config, "),
    'word': (['task_b'], "'task_b' is no flag"),
    'mode': (['--mode=training'], "unknown mode 'training'. Did you mean 'train'? Valid: train, evaluate, "),
    'channel': (['--config.channels.use=RX'], "unknown channel 'X'. Valid: R, G, B"),
    'channel twice': (['--config.channels.use=R,R'], "channel 'R' is given twice"),
    'name twice': (['--config.channels.names=R,R'], "channels.names='R,R'"),
    'no common channel': (['--config.channels.names=nir'], 'none fits'),
    'channel without channel': (['--config.channels.names=R,G', '--config.channels.use=B'], "'B' is no input channel"),
    'no channel': (['--config.channels.use=,'], "unknown channel ''. Valid: R, G, B"),
    'channel dropout': (['--config.channel_dropout.method=random'],
                        "unknown channel_dropout.method 'random'. Valid: none, independent"),
    'dropout of one channel': (['--config.channel_dropout.method=hierarchical', '--config.channels.use=R'],
                             'given one channel'),
    'subsets without dropout': (['--config.channel_dropout.subsets=R;G,B'],
                                'full_view, distillation and subsets need channel dropout'),
    'subset of no channel': (['--config.channel_dropout.method=hierarchical', '--config.channel_dropout.subsets=R;nir'],
                             "the subset 'nir' names 'nir', which is no channel here. Valid: R, G, B"),
    'drop rate': (['--config.channel_dropout.rate=1.0'], 'channel_dropout.rate=1.0'),
    'imputation': (['--config.model.imputation=mean'],
                   "unknown model.imputation 'mean'. Valid: zero, learned, mlp, linear"),
    'rescaled imputation': (['--config.model.imputation=linear', '--config.model.rescale'],
                            'the model cannot be built: imputation linear leaves no missing channel to make up for'),
    'model': (['--config.model.name=resnet'], "unknown model.name 'resnet'. Did you mean 'resnet34'? Valid: dynamic"),
    'field of another model': (['--config.model.name=resnet34'], "unknown config field 'model."),
    'stages': (['--config.model.stages=7'], 'stages=7'),
    'strides': (['--config.model.strides=one,two'], "such as --config.model.strides='(2, 2, 2, 2)'"),
    'source': (['--config.data.source=cifar'], "unknown data.source 'cifar'"),
    'normalization': (['--config.data.normalization=zscore'], "unknown data.normalization 'zscore'"),
    'optimizer': (['--config.optimizer.name=adam'], "unknown optimizer.name 'adam'"),
    'precision': (['--config.train.precision=half'], "unknown train.precision 'half'"),
    'momentum': (['--config.optimizer.momentum=1.0'], 'optimizer.momentum=1.0: must be at least 0 and below 1'),
    'rate': (['--config.optimizer.learning_rate=nan'], 'optimizer.learning_rate=nan'),
    'pairs': (['--config.augment.mixup_alpha=0.2', '--config.runtime.devices=4'], 'needs an even share'),
    'block': (['--config.model.drop_block=0.1', '--config.model.drop_block_size=0'],
              'model.drop_block_size=0: must be at least 1'),
    'parts': (['--config.train.accumulation=3'], 'train.accumulation=3: does not divide the 5 images that a device'),
    'class weight': (['--config.train.class_weights=red dics=2'], "Did you mean 'red disc'?"),
    'freeze': (['--config.optimizer.freeze=stage9'], "Did you mean 'stage2'? Valid: classifier, stage1, stage2"),
    'best by subsets': (['--config.train.best_by=subsets'], 'train.best_by=subsets needs channel dropout'),
    'distillation': (['--config.channel_dropout.distillation=0.5'], 'need channel dropout'),
    'conditioning': (['--config.model.conditioning=mask'], "unknown model.conditioning 'mask'. Valid: none, presence"),
    'other run': (['--config.train.init_from=/nowhere'], '/nowhere is no run folder'),
    'batch of zero': (['--config.train.batch_size=0'], 'train.batch_size=0'),
    'batch not shared': (['--config.train.batch_size=21', '--config.runtime.devices=2'], 'multiple of the 2 devices'),
    'epochs of zero': (['--config.train.epochs=0'], 'train.epochs=0 and train.steps=0: one of them sets the length'),
    'no stages': (['--config.model.strides=()'], 'model.strides=(): expected at least one value'),
    'stride of zero': (['--config.model.strides=(2, 0)'], 'model.strides=(2, 0): must be at least 1'),
    'too few classes': (['--config.model.num_classes=5'], 'model.num_classes=5, but the data has label 19'),
    'missing folder': (['--config.data.source=folder', '--config.data.path=/nowhere'], '/nowhere'),
    'process alone': (['--process_id=1'], '--process_id needs --distributed beside it'),
    'no cluster': (['--distributed'], '--distributed: cannot join'),
    'placement': (['--config.runtime.data_placement=disk'], 'Valid: auto, device, host'),
}


@pytest.mark.parametrize('case', WRONG)
def test_a_mistake_is_one_line_with_exit_code_2_and_leaves_nothing(case, tmp_path, capsys):
  words, message = WRONG[case]
  assert run('--workdir', tmp_path / 'run', *TINY, *words) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.startswith('error: ')
  assert error.count('\n') == 1
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(('words', 'message'), [
    (['--config', 'configs/task_c.py'], "unknown configuration 'configs/task_c.py'. Did you mean 'configs/task_"),
    (['--config', 'taska'], "unknown configuration 'taska'. Did you mean 'task_a'? Valid: any_channels, resnet34, "),
    (['--config', 'configs/task_a.py:imagenet'], "unknown variant 'imagenet'. Did you mean 'mini_imagenet'?"),
    (['--config.train.epochs=3'], '--config.FIELD needs --config FILE or --workdir RUN beside it'),
    ([], 'no --config given'),
    (['--mode=evaluate', '--workdir=/nowhere'], '/nowhere is no run folder'),
])
def test_a_missing_or_wrong_config_is_one_line(words, message, capsys):
  assert main(['main.py', *words]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1


def test_a_run_folder_of_another_config_is_refused_and_the_keys_are_named(finished, capsys):
  folder, _ = finished
  before = sorted(path.name for path in folder.iterdir())
  assert run('--workdir', folder, *TINY, '--config.train.seed=5', '--config.runtime.devices=1') == 2
  error = capsys.readouterr().err
  assert 'train.seed is 0 there, 5 here' in error
  assert 'devices' not in error
  assert sorted(path.name for path in folder.iterdir()) == before


def test_a_device_without_memory_is_one_line(tmp_path, monkeypatch, capsys):
  def fail(command):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 85899345920 bytes.')

  monkeypatch.setattr(cli, 'runner', lambda name: fail)
  assert run('--workdir', tmp_path / 'run', *TINY) == 1
  error = capsys.readouterr().err
  assert error.startswith('failed: the device has too little memory; a smaller train.batch_size')
  assert error.count('\n') == 1


def test_a_batch_beyond_the_memory_is_one_line(tmp_path, monkeypatch, capsys):
  def without_memory(*_):
    raise MemoryError('Unable to allocate 3.64 TiB')

  monkeypatch.setattr(cli, 'runner', lambda _: without_memory)
  assert run('--workdir', tmp_path / 'run', *TINY) == 1
  error = capsys.readouterr().err
  assert 'failed: there is too little memory: ' in error
  assert 'Unable to allocate 3.64 TiB' in error
  assert error.count('\n') == 1


def test_names_that_a_terminal_cannot_show_end_no_command(monkeypatch):
  written = io.BytesIO()
  monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, encoding='ascii'))
  assert main(['main.py', '--version']) == 0
  log('caf\udce9, \u00fc')
  assert written.getvalue().splitlines()[-1] == b'caf\\udce9, \\xfc'


def test_a_folder_of_other_things_is_no_run_folder(tmp_path, capsys):
  (tmp_path / 'thesis.tex').touch()
  assert run('--workdir', tmp_path, *TINY) == 2
  assert 'exists and is no run folder' in capsys.readouterr().err


def test_evaluating_before_the_first_checkpoint_is_a_mistake(finished, tmp_path, capsys):
  (tmp_path / 'config.json').write_text((finished[0] / 'config.json').read_text())
  assert main(['main.py', '--mode=evaluate', f'--workdir={tmp_path}']) == 2
  assert 'has no checkpoint yet' in capsys.readouterr().err


def test_a_switch_takes_no_word_after_it(tmp_path, capsys):
  for word in ('--config.optimizer.decay_all', '--noconfig.optimizer.decay_all', '--config.optimizer.decay_all=true'):
    assert run('--workdir', tmp_path / 'run', *TINY, word, '--mode', 'training') == 2
    assert "unknown mode 'training'" in capsys.readouterr().err


@pytest.mark.parametrize(('text', 'message'), [
    ('def get_config(:', 'invalid syntax'),
    ('get_config = 1', 'not callable'),
    ('import nothing_of_that_name', 'nothing_of_that_name'),
    ('def get_config(): return {}', ''),
])
def test_a_file_that_is_no_config_is_one_line(text, message, tmp_path, capsys):
  (tmp_path / 'config.py').write_text(text)
  assert main(['main.py', '--config', f'{tmp_path / "config.py"}:variant']) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1


def test_another_configuration_than_the_runs_is_not_evaluated(finished, capsys):
  assert run('--mode=evaluate', '--workdir', finished[0], *TINY, '--config.channels.use=R') == 2
  assert "channels.use is '' there, 'R' here" in capsys.readouterr().err
  assert run('--mode=subsets', '--workdir', finished[0], *TINY, '--config.model.imputation=learned') == 2
  assert "model.imputation is 'zero' there, 'learned' here" in capsys.readouterr().err  # of which there are no weights


def test_help_names_every_flag_and_mode(capsys):
  assert main(['main.py', '--help']) == 0
  out = capsys.readouterr().out
  assert all(word in out for word in ('--config', '--workdir', '--mode', 'train', 'evaluate', 'cost', 'inspect'))


def test_run_folders_are_named_by_config_and_settings():
  assert run_name('task_a', 'configs/task_a.py', {}) == 'task_a'
  overrides = {'channels.use': 'RG', 'train.seed': 2, 'runtime.devices': 1}
  assert run_name('task_a', 'task_a.py:mini_imagenet', overrides) == 'task_a-mini_imagenet-channels.use=RG-seed=2'
  names = {run_name('task_a', 'c.py', {'channels.use': use}) for use in ('R G', 'R/G', 'x' * 200, 'x' * 201)}
  names |= {run_name('task_a', 'c.py', {'data.path': path}) for path in ('/a.npz', '/b.npz')}
  assert len(names) == 6
  assert all(len(name) <= 100 and '/' not in name and ' ' not in name for name in names)
  for name in ('', '.', '..'):
    with pytest.raises(UserError, match='expected a name for its folder'):
      run_name(name, 'c.py', {'train.seed': 2})


def test_a_configuration_without_a_name_is_called_like_its_network(tmp_path, monkeypatch, capsys):
  (tmp_path / 'own.py').write_text('from ml_collections import ConfigDict\ndef get_config():\n'
                                   "  return ConfigDict({'model': {'name': 'wide_cnn', 'num_classes': 2}, "
                                   "'channels': {'names': 'R'}, 'data': {'image_size': 16}})\n")
  monkeypatch.chdir(tmp_path)
  assert main(['main.py', '--mode=cost', '--config=own.py']) == 0
  assert [path.name for path in (tmp_path / 'runs').iterdir()] == ['wide_cnn']
  (tmp_path / 'own.py').write_text("from ml_collections import ConfigDict\ndef get_config():\n"
                                   "  return ConfigDict({'model': 'wide_cnn'})\n")
  capsys.readouterr()
  assert main(['main.py', '--mode=cost', '--config=own.py']) == 2
  assert capsys.readouterr().err == "error: model='wide_cnn': expected a section with fields such as name\n"


def write_images(root, splits=('train', 'val', 'test'), classes=2, per_class=6):
  rng = np.random.default_rng(0)
  for split in splits:
    lines = []
    for label in range(classes):
      for number in range(per_class):
        name = f'images/{split}{label}{number}.png'
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), np.uint8)).save(root / name)
        lines.append(f'{name} {label}\n')
    (root / f'{split}.txt').write_text(''.join(lines))


FOLDER = ['--config.data.source=folder', '--config.train.batch_size=4', '--config.train.epochs=1']


def test_images_in_a_folder_are_trained_on(tmp_path, capsys):
  write_images(tmp_path / 'images')
  assert run('--workdir', tmp_path / 'run', *TINY, *FOLDER, f'--config.data.path={tmp_path / "images"}') == 0
  assert '12 train, 12 val, 12 test images of 16x16' in capsys.readouterr().out


def test_channels_without_names_fill_the_first_input_channels(tmp_path, capsys):
  rng = np.random.default_rng(0)
  arrays = {f'{split}_{what}': values for split in ('train', 'val', 'test') for what, values in (
      ('images', rng.integers(0, 255, (8, 8, 8, 2), np.uint8)), ('labels', np.arange(8) % 2))}
  np.savez(tmp_path / 'two.npz', **arrays)
  words = ['--config.data.source=arrays', f'--config.data.path={tmp_path / "two.npz"}', '--config.train.batch_size=4',
           '--config.train.epochs=1', '--config.channels.names=R,G,B']
  assert run('--workdir', tmp_path / 'run', *TINY, *words) == 0
  out = capsys.readouterr().out
  assert 'the channels have no names and fill the first input channels: R, G' in out
  assert 'channels R, G (missing: B)' in out


def test_a_channel_without_an_input_channel_is_left_out_and_named(tmp_path, capsys):
  assert run('--workdir', tmp_path / 'run', *TINY, '--config.channels.names=R,B', '--config.train.epochs=1') == 0
  assert 'channels that the model does not have are left out: G\n' in capsys.readouterr().out


def test_data_that_changed_under_a_stopped_run_is_refused(tmp_path, capsys):
  write_images(tmp_path / 'images')
  words = ['--workdir', tmp_path / 'run', *TINY, *FOLDER, f'--config.data.path={tmp_path / "images"}']
  assert run(*words) == 0
  (tmp_path / 'run' / 'results.json').unlink()  # as if stopped before its test
  (tmp_path / 'images' / 'images' / 'train00.png').write_bytes(
      (tmp_path / 'images' / 'images' / 'train11.png').read_bytes())
  assert run(*words) == 2
  assert 'was trained on other data than there is now' in capsys.readouterr().err


def test_labels_outside_the_classes_are_refused_in_every_split(tmp_path, capsys):
  images = np.zeros((4, 8, 8, 3), np.uint8)
  for bad in ('train', 'val', 'test'):
    labels = {f'{split}_labels': np.array([0, 1, 2, 7 if split == bad else 1]) for split in ('train', 'val', 'test')}
    np.savez(tmp_path / 'set.npz', classes=['a', 'b', 'c'], train_images=images, val_images=images, test_images=images,
             **labels)
    assert run('--workdir', tmp_path / 'run', *TINY, '--config.data.source=arrays',
               f'--config.data.path={tmp_path / "set.npz"}') == 2
    assert f'{bad}_labels[3] is 7' in capsys.readouterr().err


def damage_list(root, line):
  with (root / 'train.txt').open('a') as file:
    file.write(line)


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda root: (root / 'train.txt').unlink(), 'train'),
    (lambda root: damage_list(root, 'images/train00.png\n'), 'train.txt'),
    (lambda root: damage_list(root, 'images/train00.png 7x\n'), '7x'),
    (lambda root: damage_list(root, 'images/missing.png 1\n'), 'images/missing.png'),
    (lambda root: (root / 'images/val01.png').write_bytes(b'no image'), 'val01.png'),
    (lambda root: (root / 'test.txt').write_text(''), 'test.txt'),
], ids=['no list', 'no label', 'bad label', 'missing file', 'damaged image', 'empty split'])
def test_a_damaged_folder_is_one_line_and_leaves_nothing_half_built(damage, message, tmp_path, capsys):
  root = tmp_path / 'images'
  write_images(root)
  damage(root)
  assert run('--workdir', tmp_path / 'run', *TINY, *FOLDER, f'--config.data.path={root}',
             f'--config.runtime.cache={tmp_path / "cache"}') == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert not (tmp_path / 'run').exists()
  assert not list((tmp_path / 'cache').rglob('*.npy'))


@pytest.mark.parametrize(('words', 'read'), [
    (['--workdir=~/x'], lambda request: str(request.folder.path)),
    (['--workdir=x', '--mode=evaluate', '--output', '~/x'], lambda request: request.flags['output']),
    (['--workdir=x', '--mode=predict', '--input=~/x'], lambda request: request.flags['input'][0]),
    (['--workdir=x', '--config.data.path=~/x'], lambda request: request.config.data.path),
    (['--workdir=x', '--config.runtime.cache=~/x'], lambda request: request.config.runtime.cache),
    (['--workdir=x', '--config.train.init_from=~/x'], lambda request: request.config.train.init_from)])
def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(words, read, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert read(parse(['main.py', '--config=configs/task_b.py', *words])) == f'{tmp_path}/x'


@pytest.mark.parametrize('words', [['--workdir=gs://bucket/run'], ['--workdir=x', '--config.data.path=s3://bucket/set'],
                                   ['--workdir=x', '--mode=predict', '--input', 'a.png', 'https://host/b.png']])
def test_an_address_is_refused_before_anything_is_made(words, tmp_path, monkeypatch):
  config = ROOT / 'configs/task_b.py'
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=r"://.*: only folders of this machine's file system"):
    parse(['main.py', f'--config={config}', *words])
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('words', [['--input', 'a.png', 'b.png', '--all_classes'],
                                   ['--all_classes', '--input=a.png', 'b.png'],
                                   ['--input=a.png', 'b.png', '--output', 'c.csv', '--all_classes']])
def test_a_shells_pattern_gives_several_inputs(words):
  request = parse(['main.py', '--config=configs/task_b.py', '--mode=predict', *words])
  assert request.flags['input'] == ['a.png', 'b.png']
  assert request.flags['all_classes']
  assert request.flags['output'] == ('c.csv' if 'c.csv' in words else '')


def test_a_word_after_another_flag_is_still_none(capsys):
  assert main(['main.py', '--config=configs/task_b.py', '--mode=predict', '--all_classes', 'b.png']) == 2
  assert "'b.png' is no flag" in capsys.readouterr().err

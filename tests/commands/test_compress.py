import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from scipy.special import softmax

import mils_jax
from mils_jax import build
from mils_jax.cli import main
from mils_jax.commands import compress as compress_command
from mils_jax.commands.diagnose import open_attention
from mils_jax.commands.evaluate import run_evaluation
from mils_jax.metrics import PairedDifference
from mils_jax.restore import restore
from mils_jax.run_config import saved_config
from mils_jax.training.run_folder import RunFolder, write_json
from mils_jax.training.state import state_creator
from mils_jax.training.warm_start import warm_start


def opened(path):
  folder = RunFolder(path)
  return saved_config(folder), folder


def compress(run, output, *flags):
  return main(['main.py', '--mode=compress', f'--workdir={run}', f'--output={output}', *flags])


@pytest.fixture(scope='module')
def merged(small_runs, tmp_path_factory):
  output = tmp_path_factory.mktemp('compress') / 'new' / 'merged'
  assert compress(small_runs['dynamic_resnet12'], output) == 0
  return small_runs['dynamic_resnet12'], output


def test_the_kernels_are_mixed_by_the_mean_over_the_training_split(merged):
  run, output = merged
  source, reader = open_attention(*opened(run))
  mean = reader.mean(source.variables, 90, source.batches('train'), 'train')
  old, new = source.restored.variables, restore(RunFolder(output)).variables
  np.testing.assert_allclose(new['params']['stem_conv']['kernels'][0],
                             np.einsum('k,khwio->hwio', mean[0], old['params']['stem_conv']['kernels']), atol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, new['batch_stats'], old['batch_stats'])


def test_a_merged_run_evaluates_and_predicts_like_any_other(merged):
  run, output = merged
  config, folder = opened(output)
  assert run_evaluation(config, folder).results['scores'] == folder.read_results()['test']
  source = RunFolder(run).read_config()
  source['model']['num_kernels'] = 1
  assert folder.read_config() == source
  images = np.asarray(build.open_data(config).splits['test'].images)
  with np.load(folder.predictions) as saved:
    np.testing.assert_allclose(mils_jax.load(output)(images), softmax(saved['logits'], axis=1), rtol=1e-4, atol=1e-6)
  assert not list(output.parent.glob('.*'))  # what was unfinished is gone


def test_its_size_is_that_of_plain_convolutions(merged):
  values = json.loads((merged[1] / 'compression.json').read_text())
  convolutions = 9 * 3 * 8, 9 * 8 * 8, 9 * 8 * 8, 8 * 8  # stem on 16x16; conv1, conv2 and shortcut on 4x4
  norms, classifier = 4 * 2 * 8, 8 * 20
  assert values['compressed']['parameters'] == sum(convolutions) + norms + classifier + 20
  macs = 256 * convolutions[0] + 16 * sum(convolutions[1:]) + classifier
  assert values['compressed']['macs'] == macs
  attention = (3 * 1 + 1 * 2) + 3 * (8 * 2 + 2 * 2)  # squeeze to a quarter and expand to both kernels
  assert values['original']['macs'] == 2 * (macs - classifier) + classifier + attention
  assert values['original']['parameters'] == values['compressed']['parameters'] + sum(convolutions) + attention


def test_the_difference_pairs_both_runs_predictions_of_the_test_split(merged):
  run, output = merged
  values = json.loads((output / 'compression.json').read_text())
  correct = []
  for path in (output, run):
    with np.load(path / 'predictions.npz') as saved:
      correct.append(saved['logits'].argmax(axis=1) == saved['label'])
  assert values['difference'] == PairedDifference.of(*correct).to_json()
  assert (values['compressed']['correct'], values['original']['correct']) == tuple(int(one.sum()) for one in correct)
  origin = json.loads((output / 'run.json').read_text())['made_from']
  assert (origin['run'], origin['method'], origin['kernels'], origin['of']) == (str(run), 'merged', 1, 2)


def test_the_same_command_again_gives_the_same_result_and_touches_nothing(merged, capsys):
  run, output = merged
  before = (output / 'results.json').stat().st_mtime_ns
  assert compress(run, output) == 0
  out = capsys.readouterr().out
  assert 'is this compression already' in out
  assert 'the merged network' in out
  assert (output / 'results.json').stat().st_mtime_ns == before


def test_the_same_run_moved_elsewhere_gives_the_same_compression(merged, tmp_path, capsys):
  moved = shutil.copytree(merged[0], tmp_path / 'moved')
  assert compress(moved, merged[1]) == 0
  assert 'is this compression already' in capsys.readouterr().out


def test_what_the_run_had_started_from_need_not_be_there(merged, tmp_path):
  run = shutil.copytree(merged[0], tmp_path / 'run')
  config = json.loads((run / 'config.json').read_text())
  config['train']['init_from'] = str(tmp_path / 'gone')
  (run / 'config.json').write_text(json.dumps(config))
  assert compress(run, tmp_path / 'new') == 0
  assert (tmp_path / 'new' / 'results.json').exists()


def test_a_signal_leaves_nothing_unfinished(merged, tmp_path, monkeypatch):
  def stopped(*_):
    (found,) = (tmp_path / 'out').glob('.*')
    assert found.is_dir()
    os.kill(os.getpid(), signal.SIGTERM)
    return {}

  monkeypatch.setattr(compress_command, '_write', stopped)
  before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail('nobody heard the signal'))
  try:
    assert compress(merged[0], tmp_path / 'out' / 'new') == 128 + signal.SIGTERM
  finally:
    signal.signal(signal.SIGTERM, before)
  assert not list((tmp_path / 'out').iterdir())


def test_a_damaged_checkpoint_with_no_other_is_to_be_made_again(merged, tmp_path, capsys):
  folder = shutil.copytree(merged[1], tmp_path / 'merged')
  (best,) = (folder / 'checkpoints' / 'best').iterdir()
  shutil.rmtree(best / 'variables')
  assert main(['main.py', '--mode=evaluate', f'--workdir={folder}']) == 1
  error = capsys.readouterr().err
  assert f'make the run again in another folder, by the command in {folder / "run.json"}' in error
  assert 'rm -rf' not in error


def test_training_continues_from_it_by_init_from_with_every_array(merged):
  config, folder = opened(merged[1])
  plan = build.build_plan(config, folder)
  fresh = state_creator(plan.step, (16, 16, 3))()
  started = warm_start(fresh, plan.step.model, plan.spec, str(merged[1]))
  restored = restore(folder).variables
  jax.tree.map(np.testing.assert_array_equal, started.params, restored['params'])
  jax.tree.map(np.testing.assert_array_equal, started.batch_stats, restored['batch_stats'])


def test_pruned_to_the_strongest_kernel(small_runs, tmp_path):
  run = RunFolder(shutil.copytree(small_runs['dynamic_resnet12'], tmp_path / 'run'))
  write_json(run.results, {**run.read_results(), 'epochs': 7})  # as where patience ended it sooner than configured
  assert compress(run.path, tmp_path / 'pruned', '--keep=1') == 0
  assert RunFolder(tmp_path / 'pruned').read_results()['epochs'] == 7
  values = json.loads((tmp_path / 'pruned' / 'compression.json').read_text())
  old, new = (restore(RunFolder(path)).variables for path in (small_runs['dynamic_resnet12'], tmp_path / 'pruned'))
  stem = values['layers'][0]
  assert stem['kept'] == [int(np.argmax(stem['mean_attention']))]
  np.testing.assert_array_equal(new['params']['stem_conv']['kernels'],
                                old['params']['stem_conv']['kernels'][stem['kept']])
  assert values['made_from']['method'] == 'pruned'


@pytest.mark.parametrize(('network', 'flags', 'message'), [
    ('wide_cnn', (), 'has no dynamic convolutions: model.name=wide_cnn. Expected a run of dynamic_resnet12'),
    ('dynamic_resnet12', ('--keep=2',), '--keep=2: expected at most 1 of the 2 kernels'),
    ('dynamic_resnet12', ('--keep=0',), '--keep=0: expected'),
    ('dynamic_resnet12', ('--keep=one',), '--keep=one: expected'),
    ('merged', (), 'has model.num_kernels=1 and so no attention'),
])
def test_what_cannot_be_compressed_is_refused_in_a_line(small_runs, merged, tmp_path, capsys, network, flags, message):
  assert compress({**small_runs, 'merged': merged[1]}[network], tmp_path / 'new', *flags) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1
  assert not list(tmp_path.iterdir())


def test_another_run_is_not_written_over(small_runs, merged, capsys):
  for output, flags in ((small_runs['wide_cnn'], ()), (merged[1], ('--keep=1',))):
    assert compress(merged[0], output, *flags) == 2
    assert capsys.readouterr().err == (f'error: --output {output} exists and is no compression of this run: give a '
                                       'folder that does not exist\n')

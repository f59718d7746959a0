"""Several runs as one job: what is skipped, resumed, reported and refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs import task_b
from mils_jax.cli import main
from mils_jax.command_line import run_name
from mils_jax.commands.sweep import estimate_lines
from mils_jax.errors import RunError, UserError
from mils_jax.run_config import claim
from mils_jax.sweeps import estimate
from mils_jax.sweeps import sweep as sweep_module
from mils_jax.sweeps.estimate import StepTime
from mils_jax.sweeps.sweep import read_sweep, run_sweep, write_runs
from tests.sweeps.tiny_sweep import get_config

ROOT = Path(__file__).parents[2]
RESULTS = {'test': {'correct': 3, 'count': 4}}


def tiny(folder, **fields):
  config = get_config()
  for field, value in fields.items():
    config[field] = value
  return read_sweep(config, folder)


def files(folder):
  return {path: path.stat().st_mtime_ns for path in folder.rglob('*')}


def test_a_run_is_its_base_with_common_fields_its_own_and_its_seed(tmp_path):
  two, _, three = tiny(tmp_path).runs
  assert two.folder.path == tmp_path / 'two-seed0'
  assert (two.config.model.stages, three.config.model.stages) == (2, 3)
  assert (two.config.model.width, three.config.train.seed) == (16, 1)
  base = task_b.get_config().optimizer
  assert two.config.optimizer.learning_rate == three.config.optimizer.learning_rate == base.learning_rate


def test_each_seed_is_a_run_of_its_own_and_a_runs_value_goes_before_the_common_one(tmp_path):
  _, base, _, _ = get_config().runs[0]
  sweep = tiny(tmp_path, runs=(('wide', base, {'model.width': 32}, (0, 7)),))
  seeds = [(run.title, run.config.train.seed) for run in sweep.runs]
  assert seeds == [('wide-seed0', 0), ('wide-seed7', 7)]
  assert all(run.config.model.width == 32 for run in sweep.runs)


BASE = get_config().runs[0][1]
WRONG = {
    'no runs': ({'runs': ()}, 'it has no runs'),
    'two of one name': ({'runs': (('a', BASE, {}, (0,)), ('a', BASE, {}, (1,)))}, "two runs of the sweep are"),
    'unknown field': ({'runs': (('a', BASE, {'model.stage': 2}, (0,)),)},
                      "run 'a' 'model.stage'. Did you mean 'model.stages'?"),
    'field of a value': ({'runs': (('a', BASE, {'train.epochs.x': 2}, (0,)),)}, "run 'a' 'train.epochs.x'"),
    'type': ({'runs': (('a', BASE, {'train.epochs': 'two'}, (0,)),)},
             "run 'a': train.epochs='two': expected a whole number"),
    'one seed': ({'runs': (('a', BASE, {}, (0,)), ('b', BASE, {}, 0))}, 'run 2 of the sweep: expected (name, base'),
    'overrides': ({'runs': (('a', BASE, None, (0,)),)}, 'run 1 of the sweep: expected (name, base configuration, over'),
    'a text': ({'runs': ('abcd',)}, 'run 1 of the sweep: expected (name, base configuration, over'),
    'no overrides': ({'runs': (('a', BASE, (0,)),)}, 'run 1 of the sweep: expected (name, base configuration, over'),
    'no seeds': ({'runs': (('a', BASE, {}, ()),)}, "run 'a': seeds=()"),
    'number for a name': ({'runs': ((1, BASE, {}, (0,)),)}, 'run 1 of the sweep: expected (name, base configuration'),
    'plain base': ({'runs': (('a', {}, {}, (0,)),)}, 'run 1 of the sweep: expected (name, base configuration, over'),
    'name': ({'runs': (('../a', BASE, {}, (0,)),)}, "run '../a': its name becomes a folder"),
}


@pytest.mark.parametrize('case', WRONG)
def test_a_sweep_that_cannot_be_is_refused(case, tmp_path):
  fields, message = WRONG[case]
  with pytest.raises(UserError) as error:
    tiny(tmp_path, **fields)
  assert message in str(error.value)


def test_a_run_that_does_not_fit_is_named_before_anything_is_trained(tmp_path):
  sweep = tiny(tmp_path / 'sweep', runs=(('good', BASE, {}, (0,)), ('bad', BASE, {'model.stages': 7}, (0,))))
  with pytest.raises(UserError, match=r"run 'bad': .*stages=7"):
    run_sweep(sweep, [])
  assert not (tmp_path / 'sweep').exists()


@pytest.fixture
def trainings(monkeypatch):
  """Which runs are trained, in order; those called 'diverging' fail, the others end at once."""
  trained = []

  def train(config, folder, _):
    trained.append(folder.path.name)
    claim(folder, config)
    if folder.path.name.startswith('diverging'):
      raise RunError('the loss was non-finite')
    folder.results.write_text(json.dumps(RESULTS))
    return RESULTS

  monkeypatch.setattr(sweep_module, 'run_training', train)
  monkeypatch.setattr(sweep_module, 'build_plan', lambda run: None)
  return trained


def test_a_failed_run_is_reported_and_the_others_continue_and_the_finished_are_skipped(trainings, tmp_path, capsys):
  sweep = tiny(tmp_path / 'sweep')
  assert list(run_sweep(sweep, [])) == ['diverging-seed0']
  assert trainings == ['two-seed0', 'diverging-seed0', 'three-seed1']
  assert 'diverging-seed0 failed: the loss was non-finite' in capsys.readouterr().out
  written = json.loads((tmp_path / 'sweep' / 'sweep.json').read_text())
  assert [(run['name'], run['folder'], run['seed']) for run in written['runs']] == [
      ('two', 'two-seed0', 0), ('diverging', 'diverging-seed0', 0), ('three', 'three-seed1', 1)]
  trainings.clear()
  run_sweep(sweep, [])
  assert trainings == ['diverging-seed0']


def test_a_folder_of_another_sweep_of_other_things_or_of_other_settings_is_refused(trainings, tmp_path):
  run_sweep(tiny(tmp_path / 'sweep'), [])
  with pytest.raises(UserError, match="belongs to the sweep 'tiny', not 'other'"):
    run_sweep(tiny(tmp_path / 'sweep', name='other'), [])
  changed = get_config()
  changed.common.train.epochs = 3
  with pytest.raises(UserError, match=r'train\.epochs is 2 there, 3 here'):
    run_sweep(read_sweep(changed, tmp_path / 'sweep'), [])
  (tmp_path / 'thesis').mkdir()
  (tmp_path / 'thesis' / 'thesis.tex').touch()
  with pytest.raises(UserError, match='is no sweep folder'):
    run_sweep(tiny(tmp_path / 'thesis'), [])


def test_a_damaged_record_of_a_sweep_is_named(trainings, tmp_path):
  run_sweep(tiny(tmp_path), [])
  (tmp_path / 'sweep.json').write_text('{"name": "tiny"}')
  with pytest.raises(RunError, match=r"sweep.json is no record of a sweep \(KeyError\('runs'\)\)"):
    run_sweep(tiny(tmp_path), [])
  assert trainings == ['two-seed0', 'diverging-seed0', 'three-seed1']


def test_a_sweep_of_an_older_version_goes_on(trainings, tmp_path):
  run_sweep(tiny(tmp_path), [])
  (tmp_path / 'sweep.json').rename(tmp_path / 'study.json')
  trainings.clear()
  run_sweep(tiny(tmp_path), [])
  assert trainings == ['diverging-seed0']


def test_a_dry_run_measures_each_kind_once_and_writes_nothing(tmp_path, monkeypatch):
  measured = []
  monkeypatch.setattr(estimate, 'measure_step',
                      lambda plan: measured.append(plan.step.model.stages) or StepTime(0.5, 9.0))
  config = get_config()
  config.common.runtime.cache = str(tmp_path / 'cache')
  config.runs = (*config.runs, ('again', config.runs[2][1], {'model.stages': 3}, (5,)))
  sweep = read_sweep(config, tmp_path / 'sweep')
  write_runs(sweep)
  two = sweep.runs[0]
  claim(two.folder, two.config)
  two.folder.results.write_text(json.dumps(RESULTS))
  before = files(sweep.path)
  done, *others = estimate.estimate_sweep(sweep)
  assert (done.state, done.seconds) == ('finished', 0)
  assert [(one.state, one.steps, one.seconds) for one in others] == [('new', 16, 8.0)] * 3  # 250 images, 32 at once
  assert measured == [2, 3]
  assert files(sweep.path) == before
  lines = estimate_lines(sweep, [done, *others])
  assert 'in all 24 s, and 18 s to compile' in lines
  assert any(re.sub(' +', ' ', line) == '| three-seed1 | new | 16 | 500 ms | 8 s |' for line in lines)


def test_runs_that_differ_in_the_learning_rate_are_measured_once(tmp_path, monkeypatch):
  measured = []
  monkeypatch.setattr(estimate, 'measure_step', lambda plan: measured.append(plan) or StepTime(0.5, 9.0))
  config = get_config()
  config.common.runtime.cache = str(tmp_path / 'cache')
  base = config.runs[0][1]
  fields = ({}, {'optimizer.learning_rate': 0.3, 'optimizer.weight_decay': 1e-3}, {'optimizer.weight_decay': 0.0},
            {'optimizer.name': 'adamw'})
  config.runs = tuple((str(number), base, own, (0,)) for number, own in enumerate(fields))
  estimate.estimate_sweep(read_sweep(config, tmp_path / 'sweep'))
  assert len(measured) == 3  # without decay, and by another optimizer, the program is another one


def test_a_sweep_from_before_an_option_is_checked_as_it_was(tmp_path):
  config = get_config()
  run = read_sweep(config, tmp_path).runs[0]
  claim(run.folder, run.config)
  written = json.loads(run.folder.config.read_text())
  del written['data']['color']
  run.folder.config.write_text(json.dumps(written))
  assert [run.config.data.color for run in read_sweep(config, tmp_path).runs] == ['as_is', 'auto', 'auto']


@pytest.mark.parametrize(('words', 'message'), [
    (['--config=configs/task_b.py', '--mode=sweep'], 'the config is no sweep: it has no runs'),
    (['--config=configs/sweeps/table2.py'], 'describes a sweep, not a run: give --mode sweep'),
    (['--config=configs/task_b.py', '--dry_run'], '--dry_run is no flag of --mode train'),
    (['--mode=sweep'], 'needs a --config such as'),
    (['--config=configs/sweeps/table2.py', '--mode=sweep', '--config.common.data.pat=x'], "'common.data.pat'"),
])
def test_a_wrong_command_is_one_line_with_exit_code_2(words, message, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  assert main(['main.py', *words]) == 2
  error = capsys.readouterr().err
  assert message in error
  assert error.count('\n') == 1


def test_runs_with_other_kernels_than_the_first_are_refused(tmp_path, capsys):
  (tmp_path / 'own.py').write_text('from tests.sweeps.tiny_sweep import get_config as tiny\n\ndef get_config():\n'
                                   '  config = tiny()\n  name, base, _, seeds = config.runs[0]\n'
                                   "  config.runs = (*config.runs, ('exact', base, {'train.deterministic': True}, "
                                   'seeds))\n  return config\n')
  words = [f'--config={tmp_path}/own.py', f'--workdir={tmp_path}/sweep', f'--config.common.runtime.cache={tmp_path}/c']
  assert main(['main.py', '--mode=sweep', '--dry_run', *words]) == 2
  assert capsys.readouterr().err.startswith('error: train.deterministic differs between runs of the sweep')


def test_a_sweeps_folder_is_named_by_what_its_runs_have_in_common():
  assert run_name('tiny', 'tiny.py', {'common.train.epochs': 3, 'common.runtime.cache': '/c'}) == 'tiny-epochs=3'


@pytest.mark.parametrize(('name', 'variant'), [
    ('specialists', ()), ('landcover', ()), ('table2', ()), ('table2', ('strong',)), ('optimizers', ())])
def test_the_studies_that_come_with_the_program_fit_together(name, variant, tmp_path):
  from importlib import import_module
  config = import_module(f'configs.sweeps.{name}').get_config(*variant)
  sweep = read_sweep(config, tmp_path)
  assert len(sweep.runs) == sum(len(seeds) for *_, seeds in config.runs)


def test_table2_has_the_recipe_that_its_variant_names(tmp_path):
  from configs.sweeps.table2 import get_config
  report, strong = (read_sweep(get_config(variant), tmp_path) for variant in ('report', 'strong'))
  assert {(run.config.optimizer.name, run.config.train.epochs) for run in report.runs} == {('sgd', 10)}
  assert {(run.config.optimizer.name, run.config.train.epochs) for run in strong.runs} == {('adamw', 40)}
  assert all(run.config.augment.cutmix_alpha == 1 for run in strong.runs)
  assert {run.name: run.config.optimizer.learning_rate for run in strong.runs} == {
      'resnet34': 1e-3, 'wide_cnn2': 4e-3, 'wide_cnn3': 4e-3, 'wide_cnn4': 4e-3, 'resnet34_small_images': 1e-3}
  assert [run.name for run in strong.runs if getattr(run.config.model, 'small_images', False)] == [
      'resnet34_small_images']
  with pytest.raises(UserError, match=r"unknown variant 'stron'\. Did you mean 'strong'"):
    get_config('stron')


@pytest.mark.slow
def test_a_stopped_sweep_resumes_bit_exact(tmp_path):
  def command(folder):
    return [sys.executable, 'main.py', '--config=tests/sweeps/tiny_sweep.py', '--mode=sweep',
            f'--workdir={tmp_path / folder}', f'--config.common.runtime.cache={tmp_path / "cache"}',
            '--config.common.train.epochs=12']

  options = {'cwd': ROOT, 'text': True, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE,
             'env': {**os.environ, 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': '1', 'PYTHONPATH': str(ROOT)}}
  whole = subprocess.run(command('whole'), check=False, **options)
  assert whole.returncode == 1
  assert whole.stderr.startswith('failed: diverging-seed0, of 3 runs')
  assert 'Not finished: diverging-seed0.' in (tmp_path / 'whole' / 'sweep.md').read_text()
  report = (tmp_path / 'whole' / 'report' / 'report.md').read_text()
  assert re.search(r'three .* on 64 images: ', report)
  assert re.search(r'/diverging-seed0 \| not finished: 0 of 12 epochs', report)

  process = subprocess.Popen(command('stopped'), **options)
  metrics = tmp_path / 'stopped' / 'three-seed1' / 'metrics.jsonl'
  while not (metrics.exists() and metrics.read_text()) and process.poll() is None:  # first it is empty
    time.sleep(0.02)
  process.send_signal(signal.SIGTERM)
  _, error = process.communicate()
  assert process.returncode == 128 + signal.SIGTERM
  assert 'Run the same command to resume' in error
  assert not (tmp_path / 'stopped' / 'sweep.md').exists()

  before = files(tmp_path / 'stopped')
  dry = subprocess.run([*command('stopped'), '--dry_run'], check=False, **options)
  assert (dry.returncode, dry.stderr) == (0, '')
  states = [line.split('|')[2].strip() for line in dry.stdout.splitlines() if '-seed' in line and '|' in line]
  assert states[:2] == ['finished', 'new']
  assert states[2].startswith('at step ')
  assert files(tmp_path / 'stopped') == before

  again = subprocess.run(command('stopped'), check=False, **options)
  assert again.returncode == 1
  assert 'resuming from step' in again.stdout
  assert again.stdout.count('training WideCNN') == 2  # the one that was stopped, and the one that fails every time
  for name in ('two-seed0', 'three-seed1'):
    for file in ('metrics.jsonl', 'results.json', 'predictions.npz'):
      assert (tmp_path / 'stopped' / name / file).read_bytes() == (tmp_path / 'whole' / name / file).read_bytes()
  assert (tmp_path / 'stopped' / 'sweep.md').read_text() == (tmp_path / 'whole' / 'sweep.md').read_text()

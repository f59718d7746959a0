"""The learning-rate range test."""

import json
from pathlib import Path

import numpy as np
import pytest

from mils_jax.cli import main
from mils_jax.commands.lr_range import HIGHEST, LOWEST, RangeTest, range_figure, range_lines

CONFIG = Path(__file__).parents[2] / 'configs' / 'task_b.py'
TINY = ['--config.data.shapes.num_train=90', '--config.data.shapes.num_val=21', '--config.data.shapes.num_test=41',
        '--config.data.image_size=16', '--config.train.batch_size=20', '--config.model.width=16',
        '--config.model.stages=2']


def run(folder, *words):
  return main(['main.py', f'--config={CONFIG}', '--mode=lr_range', f'--workdir={folder}',
               f'--config.runtime.cache={folder.parent}/cache', *TINY, *words])


def test_the_suggestion_lies_a_third_below_the_lowest_smoothed_loss():
  rates = np.geomspace(1e-4, 1, 9)
  losses = np.array([3, 3, 2.5, 2, 1.0, 0.5, 2, 4, 9])
  found = RangeTest.of(rates, losses)
  assert found.smoothed[0] == 3
  np.testing.assert_allclose(found.smoothed[1:3], [3, (2.5 + 0.9 * 3 + 0.81 * 3) / 2.71])
  lowest = rates[found.smoothed.argmin()]
  assert found.suggested == pytest.approx(lowest / 3, rel=0.05)


def test_without_a_lower_loss_nothing_is_suggested():
  found = RangeTest.of(np.geomspace(1e-4, 1, 4), np.array([2.0, 2.1, 2.2, 9.0]))
  assert found.suggested is None
  assert 'none lowered the loss; expected more --steps' in range_lines(found, 'adamw')[-2]
  assert '<svg' in range_figure(found)


def test_a_range_test_draws_its_curve_and_keeps_no_weights(tmp_path, capsys, monkeypatch):
  (tmp_path / 'here' / 'run').mkdir(parents=True)
  monkeypatch.chdir(tmp_path / 'here' / 'run')
  assert run(Path('.'), '--steps=40', f'--config.runtime.cache={tmp_path}/cache') == 0
  tmp_path /= 'here'
  printed = capsys.readouterr().out
  found = json.loads((tmp_path / 'run-lr_range' / 'lr_range.json').read_text())
  assert LOWEST < found['suggested'] < HIGHEST
  assert f'--config.optimizer.learning_rate={found["suggested"]:g}' in printed
  assert found['rates'][0] == pytest.approx(LOWEST)
  assert all(later / earlier == pytest.approx((HIGHEST / LOWEST) ** (1 / 39))
             for earlier, later in zip(found['rates'], found['rates'][1:], strict=False))
  assert len(found['losses']) == len(found['rates']) <= 40
  assert found['losses'][0] == pytest.approx(np.log(20), abs=0.6)  # of 20 classes, before anything is learned
  assert '<svg' in (tmp_path / 'run-lr_range' / 'lr_range.svg').read_text()
  assert not list((tmp_path / 'run').iterdir())


@pytest.mark.parametrize('steps', ['5', 'many', '-20'])
def test_too_few_steps_are_refused(steps, tmp_path, capsys):
  assert run(tmp_path / 'run', f'--steps={steps}') == 2
  assert capsys.readouterr().err == f'error: --steps={steps}: expected a whole number of at least 10\n'
  assert not (tmp_path / 'run').exists()

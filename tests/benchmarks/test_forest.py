"""The random forest beside a run, and what reports make of it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mils_jax.report.write import write_report
from mils_jax.subsets import SubsetReport, evaluate_subsets
from mils_jax.training.run_folder import RunFolder

pytest.importorskip('sklearn', reason='the forest needs scikit-learn')
from benchmarks.forest import channel_features

ROOT = Path(__file__).parents[2]


def test_features_are_those_of_each_channel_alone():
  images = np.random.default_rng(0).integers(0, 256, (300, 8, 7, 2), np.uint8)
  features = channel_features(images)
  assert features.shape == (300, 2, 9)
  one = images[270, ..., 1].astype(np.float64)
  expected = [one.mean(), one.std(), *np.percentile(one, (5, 25, 50, 75, 95)), np.abs(np.diff(one, axis=0)).mean(),
              np.abs(np.diff(one, axis=1)).mean()]
  np.testing.assert_allclose(features[270, 1], expected, rtol=1e-4)


def test_a_forest_stands_beside_the_run_in_its_report(small_runs, tmp_path):
  folder = RunFolder(shutil.copytree(small_runs['dynamic_resnet12'], tmp_path / 'run'))
  evaluate_subsets(folder, [('R', 'G', 'B'), ('R', 'B'), ('G',)])
  subprocess.run([sys.executable, '-m', 'benchmarks.forest', folder.path], cwd=ROOT, check=True, capture_output=True)
  forest = SubsetReport.load(folder.path / 'baseline-forest.npz')
  assert list(forest.predictions) == [('G',), ('R', 'B'), ('R', 'G', 'B')]
  assert forest.accuracy(('R', 'G', 'B')).rate > 0.15  # of 20 classes, which colours alone bring to four groups
  write_report([str(folder.path)], tmp_path / 'report')
  text = (tmp_path / 'report' / 'report.md').read_text()
  assert 'against a random forest for each subset, on the same test images' in text
  assert text.count('random forest') >= 3

"""A random forest on nine statistics of each channel, trained for each subset: what a user would do without a network.

    python -m benchmarks.forest RUN [RUN ...]       needs scikit-learn: pip install -e '.[benchmark]'

Each RUN is a run folder that --mode subsets was used on. A forest is trained for each subset that it holds, on the same
training images, and predicts the same test images; the run's seed also seeds its forests. The result,
RUN/baseline-forest.npz, is compared with the run in every report, in pairs.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np

from mils_jax.build import open_data
from mils_jax.channel_subsets import subset_name
from mils_jax.errors import UserError
from mils_jax.metrics.predictions import Predictions
from mils_jax.progress import log, log_lines
from mils_jax.report.text import percent, table_lines
from mils_jax.run_config import saved_config
from mils_jax.subsets import SubsetReport
from mils_jax.training.run_folder import RunFolder

NAME = 'random forest'
TREES = 400
PERCENTILES = (5, 25, 50, 75, 95)


def channel_features(images: np.ndarray) -> np.ndarray:
  """Mean, standard deviation, five percentiles and the mean absolute difference along each axis.

  Args:
    images: (N, H, W, C).

  Returns:
    (N, C, 9) float32.
  """
  parts = []
  for start in range(0, len(images), 256):  # few at a time: a split may be larger than the memory
    x = np.asarray(images[start:start + 256], np.float32)
    percentiles = np.percentile(x, PERCENTILES, axis=(1, 2))  # (5, B, C)
    steps = [np.abs(np.diff(x, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    parts.append(np.stack([x.mean(axis=(1, 2)), x.std(axis=(1, 2)), *percentiles, *steps], axis=-1))
  return np.concatenate(parts).astype(np.float32)


def forest_of(folder: RunFolder) -> tuple[SubsetReport, float]:
  """Forests for all subsets that a run folder holds, as its subset report would be, and the seconds that they took."""
  from sklearn.ensemble import RandomForestClassifier

  config, held = saved_config(folder), SubsetReport.load(folder.subset_predictions)
  data = open_data(config)
  train, test = (data.splits[name] for name in ('train', 'test'))
  known, asked = channel_features(train.images), channel_features(test.images)
  classes = next(iter(held.predictions.values())).logits.shape[1]
  started, predictions = time.perf_counter(), {}
  for number, subset in enumerate(held.predictions, 1):
    columns = [data.channels.index(channel) for channel in subset]
    forest = RandomForestClassifier(TREES, random_state=config.train.seed, n_jobs=-1)
    forest.fit(known[:, columns].reshape(len(known), -1), train.labels)
    shares = np.zeros((len(asked), classes))
    shares[:, forest.classes_] = forest.predict_proba(asked[:, columns].reshape(len(asked), -1))
    logits = np.log(np.maximum(shares, 0.5 / TREES)).astype(np.float32)  # a class that no tree votes for is no -inf
    predictions[subset] = Predictions(test.example_ids, np.asarray(test.labels), logits)
    log(f'{number} of {len(held.predictions)}: {subset_name(subset)} {predictions[subset].accuracy}')
  return dataclasses.replace(held, step=0, predictions=predictions), time.perf_counter() - started


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', nargs='+', type=Path, metavar='RUN')
  for path in parser.parse_args().runs:
    folder = RunFolder(path)
    try:
      report, seconds = forest_of(folder)
    except ImportError:
      sys.exit("error: the forest needs scikit-learn: pip install -e '.[benchmark]'")
    except (UserError, FileNotFoundError) as error:
      sys.exit(f'error: {path}: {error}. Expected a run folder that --mode subsets was used on')
    report.save_predictions(folder.path / 'baseline-forest.npz', name=NAME)
    own = SubsetReport.load(folder.subset_predictions)
    rows = [[subset_name(subset), *(percent(one.accuracy(subset).rate) for one in (own, report))]
            for subset in report.predictions]
    rows.append(['mean', *(percent(one.mean) for one in (own, report))])
    log_lines(['', f'{path}: {len(rows) - 1} subsets in {seconds:.0f} s', '',
               *table_lines(['channels', 'the run', NAME], rows)])


if __name__ == '__main__':
  main()

"""A finished or stopped run's best checkpoint on any split of its own data or of another set."""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from mils_jax import build
from mils_jax.data.batches import gather
from mils_jax.data.sources.source import SPLITS
from mils_jax.errors import unknown
from mils_jax.evaluation.predictions import Evaluator, Predictions
from mils_jax.progress import say
from mils_jax.studies.restored import FittingData, Restored, open_fitting_data, restore
from mils_jax.studies.train import model_size
from mils_jax.training.run_folder import RunFolder, write_json


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What a run's best checkpoint said of one split.

  Attributes:
    run: the run's folder.
    path: of the results: evaluation.json and predictions.npz.
    split: train, val or test.
    config: the run's, with the data that it was tested on.
    results: as a run's results.json, of this split alone under the name 'scores'.
    predictions: of every example.
  """

  run: RunFolder
  path: Path
  split: str
  config: ConfigDict
  results: dict
  predictions: Predictions


def run_evaluation(config: ConfigDict, folder: RunFolder, split: str = 'test') -> Evaluation:
  """Restores the best checkpoint by validation accuracy, tests it and writes what it said.

  The results go to evaluation/SPLIT in the run's folder, or, for another set, to one with its fingerprint in the name.

  Args:
    config: the run's own, or one that differs in its data, which must have the same classes and share its channels.
    folder: of the run.
    split: train, val or test.

  Raises:
    UserError: there is no such split, the folder is another run's, there is no checkpoint yet, or the data has other
      classes or none of the channels.
  """
  if split not in SPLITS:
    raise unknown('--split', split, SPLITS)
  restored = restore(folder, config)
  fitting = open_fitting_data(restored, config)
  data = fitting.data
  devices = build.build_devices(config)
  say(f'restored step {restored.step}')
  evaluator = Evaluator(restored.model, fitting.placement, devices, config.train.batch_size)
  part = data.splits[split]
  predictions = evaluator(devices.replicate(restored.variables), part, gather(part, devices, config.runtime.gather),
                          split)
  path = folder.path / 'evaluation' / (split if fitting.own else f'{split}-{data.fingerprint[:8]}')
  results = _results(config, restored, fitting, split, predictions)
  evaluation = Evaluation(folder, path, split, config, results, predictions)
  _save(evaluation)
  if fitting.own and split == 'test' and folder.results.exists() and not folder.predictions.exists():
    predictions.save(folder.predictions)  # a finished run had lost them
  return evaluation


def _results(config: ConfigDict, restored: Restored, fitting: FittingData, split: str,
             predictions: Predictions) -> dict:
  contract, data = restored.contract, fitting.data
  return {
      'name': config.name, 'model': config.model.name, 'split': split, 'step': restored.step,
      'channels': list(fitting.channels), 'slots': list(contract.channels.slots),
      'classes': list(data.classes), 'scores': predictions.scores.to_json(), 'image_shape': list(data.image_shape),
      **model_size(restored.model, contract.image_size), 'data_fingerprint': data.fingerprint,
  }


def _save(evaluation: Evaluation) -> None:
  evaluation.path.mkdir(parents=True, exist_ok=True)
  evaluation.predictions.save(evaluation.path / 'predictions.npz')
  write_json(evaluation.path / 'evaluation.json', evaluation.results)

"""Run folders that no one trained: their files as a finished run leaves them, with predictions of a known accuracy."""

import json

import numpy as np

from configs import resnet34, task_a, task_b
from mils_jax.metrics import PairedDifference
from mils_jax.metrics.predictions import Predictions
from mils_jax.training.run_folder import write_json

CONFIGS = {'task_a': task_a, 'task_b': task_b, 'resnet34': resnet34}
SIZES = {'task_a': (17_446_699, 169_755_335), 'task_b': (2_068_132, 64_939_008), 'resnet34': (21_335_972, 74_811_392)}


def fake_predictions(accuracy, seed=0, count=450, classes=5, hard=0.6):
  """Predictions of about that accuracy; which images are hard is shared by all models to the degree `hard`."""
  shared, own = np.random.default_rng(7), np.random.default_rng(seed + 1)
  labels = shared.integers(0, classes, count).astype(np.int32)
  difficulty = hard * shared.random(count) + (1 - hard) * own.random(count)
  right = difficulty <= np.quantile(difficulty, accuracy)
  wrong = (labels + np.where(own.random(count) < 0.5, 1, own.integers(1, classes, count))) % classes
  logits = own.normal(size=(count, classes)).astype(np.float32)
  logits[np.arange(count), np.where(right, labels, wrong)] += 4 - 2 * difficulty.astype(np.float32)
  logits = np.where(np.arange(classes) == np.where(right, labels, wrong)[:, None],
                    logits.max(axis=1, keepdims=True) + 0.1, logits).astype(np.float32)
  return Predictions(np.array([f'test/{number:04d}' for number in range(count)]), labels, logits)


def fake_run(folder, config='task_b', accuracy=0.6, seed=0, channels=('R', 'G', 'B'), classes=5, epochs=6, count=450,
             names=None, input_channels=('R', 'G', 'B'), **overrides):
  """Writes a finished run and returns its folder."""
  folder.mkdir(parents=True)
  values = CONFIGS[config].get_config()
  values.update_from_flattened_dict({'train.seed': seed, 'train.epochs': epochs, **overrides})
  if len(channels) < 3:
    values.channels.use = ''.join(channels)
  write_json(folder / 'config.json', values.to_dict())
  predictions = fake_predictions(accuracy, seed + 10 * len(str(folder)), count, classes)
  predictions.save(folder / 'predictions.npz')
  parameters, macs = (size * values.model.get('stages', 4) // 4 for size in SIZES[config])
  write_json(folder / 'results.json', {
      'name': values.name, 'model': values.model.name, 'channels': list(channels),
      'input_channels': list(input_channels),
      'classes': list(names or [f'class {number}' for number in range(classes)]), 'epochs': epochs,
      'best_epoch': epochs - 1, 'test': predictions.scores.to_json(), 'validation': predictions.scores.to_json(),
      'image_shape': [32, 32, 3], 'parameters': parameters, 'macs': macs, 'flops': 2 * macs,
      'data_fingerprint': 'ab' * 12})
  lines = [{'epoch': epoch, 'step': 79 * epoch, 'train_loss': 2.6 / epoch ** 0.5,
            'train_accuracy': accuracy * epoch / epochs, 'val_loss': 2.4 / epoch ** 0.4,
            'val_accuracy': accuracy * (1 - 0.5 / epoch)} for epoch in range(1, epochs + 1)]
  (folder / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
  (folder / 'timings.jsonl').write_text(''.join(json.dumps(
      {'epoch': line['epoch'], 'train_seconds': 20.0, 'validation_seconds': 1.5}) + '\n' for line in lines))
  write_json(folder / 'run.json', {
      'command': ['main.py', '--config', f'configs/{config}.py', f'--config.train.seed={seed}'], 'seconds': 130.0,
      'devices': ['cpu'], 'platform': 'Linux', 'python': '3.11.7', 'versions': {'jax': '0.10.2', 'mils-jax': '0.1.0'}})
  return folder


def add_subsets(folder, accuracies, importance, classes=5, old=False):
  """Adds subsets.json and subsets.npz: {'RG': 0.5, ...} and {'R': (both, only_first, only_second, neither), ...}.

  `old`: as the version before schema 2 wrote them.
  """
  accuracies = dict(sorted(accuracies.items(), key=lambda item: len(item[0])))  # as subset mode orders them
  write_json(folder / 'subsets.json', {
      'channels': ['R', 'G', 'B'],
      'subsets': [{'channels': list(subset), 'correct': round(450 * rate), 'count': 450, 'balanced_accuracy': rate}
                  for subset, rate in accuracies.items()],
      'worth' if old else 'importance': [{'channel': channel, 'difference': PairedDifference(*cells).to_json()}
                                         for channel, cells in importance.items()]})
  predictions = [fake_predictions(rate, 5 + number, classes=classes) for number, rate in enumerate(accuracies.values())]
  common = {'label': predictions[0].labels, 'channels': ['R', 'G', 'B'],
            'present': np.array([[channel in subset for channel in 'RGB'] for subset in accuracies])}
  if old:
    np.savez(folder / 'subsets.npz', **common, identity=predictions[0].example_ids,
             predicted=np.stack([one.scores.predicted for one in predictions]))
  else:
    np.savez(folder / 'subsets.npz', **common, example_id=predictions[0].example_ids, step=474,
             logits=np.stack([one.logits for one in predictions]))


def add_diagnostics(folder, subsets=('R', 'RGB'), layers=12):
  """Adds diagnostics.json: attention of four kernels that leans ever more towards the first; the full set last."""
  def layer(number):
    mean = np.array([1 + 0.2 * number, 1, 1, 1]) / (4 + 0.2 * number)
    return {'layer': f'stage{number // 4 + 1}_block{number % 4 + 1}/conv1', 'mean_attention': mean.tolist(),
            'entropy_of_mean': float(-(mean * np.log(mean)).sum()), 'mean_entropy': 1.2,
            'logit_change_if_frozen': 0.03}
  write_json(folder / 'diagnostics.json', {
      'subsets': [{'channels': list(subset), 'layers': [layer(number) for number in range(layers)]}
                  for subset in subsets]})


def add_compression(folder, method='merged', kernels=1):
  """Makes a run one that --mode compress made of a run of four kernels: nothing of a training lies there."""
  (folder / 'metrics.jsonl').unlink()
  (folder / 'timings.jsonl').unlink()
  write_json(folder / 'compression.json', {'made_from': {'run': '/elsewhere', 'step': 474, 'weights': 'ab' * 8,
                                                         'method': method, 'kernels': kernels, 'of': 4}})

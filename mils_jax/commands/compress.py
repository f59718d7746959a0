"""Compresses a trained dynamic network into a new run folder: merges kernels into plain convolutions, or prunes them.

This is the report's remedy for the K-fold cost of dynamic convolution: where the attention hardly differs between
images, the K kernels act as one.
"""

import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mils_jax import build, invocation
from mils_jax.commands import Request
from mils_jax.commands.diagnose import check_attention, open_attention
from mils_jax.data.order import steps_per_epoch
from mils_jax.errors import UserError
from mils_jax.files import make_writable
from mils_jax.metrics import Accuracy, PairedDifference, verdict
from mils_jax.metrics.alignment import compare
from mils_jax.metrics.predictions import Predictions
from mils_jax.models.prune import merge_kernels, prune_kernels, strongest
from mils_jax.models.variables import by_path
from mils_jax.progress import counted, log, log_lines
from mils_jax.report.text import accuracy_text, grouped, table_lines
from mils_jax.restore import OpenRun
from mils_jax.run import describe_machine, model_size, summarise
from mils_jax.run_config import RunConfig, check_owner
from mils_jax.training.checkpoints import Checkpoints
from mils_jax.training.run_folder import RunFolder, read_json, write_json
from mils_jax.training.signals import StopSignals
from mils_jax.training.trainer import Outcome

SAME = ('weights', 'method', 'kernels')  # equal for equal compressions, wherever the original lies


def run_compression(config: RunConfig, folder: RunFolder, output: str, keep: int, command: list[str]) -> dict:
  """Makes a smaller run from a trained one, tests both, and writes the smaller one's folder atomically.

  Args:
    config: the run's own, or one that differs in where the data lies.
    folder: the run folder.
    output: folder of the new run.
    keep: number of kernels of each layer to keep, those with the largest mean attention over the training split; 0:
      all are merged into one by that mean.
    command: command line that started it, for the record.

  Returns:
    The contents of compression.json. Where `output` already is this compression, it is only read.

  Raises:
    UserError: the run has a single kernel, `keep` is not below K, or `output` exists.
  """
  if not output:
    raise UserError(f'{invocation.mode("compress")} needs --output: a folder for the new run')
  check_owner(folder, config, free=('data.path',))
  check_attention(config, folder)
  kernels = config.model.num_kernels
  if keep >= kernels:
    raise UserError(f'--keep={keep}: expected at most {kernels - 1} of the {kernels} kernels that the run has; without '
                    'it, all are merged into one')
  target = Path(output)
  _claim_parent(target)
  started = time.perf_counter()
  run, reader = open_attention(config, folder)
  origin = {'run': str(folder.path.absolute()), 'step': run.restored.step, 'weights': _digest(run.restored.variables),
            'method': 'pruned' if keep else 'merged', 'kernels': keep or 1, 'of': reader.num_kernels}
  if target.exists():
    values = read_json(RunFolder(target).compression)
    made = values.get('made_from', {})
    if any(made.get(name) != origin[name] for name in SAME):
      _refuse_taken(target)
    log(f'{target} is this compression already; this is its result')
    return values
  count = len(run.data.splits['train'].labels)
  log(f'the attention of {counted(len(reader.layers), "layer")} over {count} training images')
  attention = reader.mean(run.variables, count, run.batches('train'), 'attention over train')  # (L, K)
  mean = dict(zip(reader.layers, attention, strict=True))
  params = run.restored.variables['params']
  smaller = {**run.restored.variables,
             'params': prune_kernels(params, mean, keep) if keep else merge_kernels(params, mean)}
  with tempfile.TemporaryDirectory(prefix=f'.{target.name}-', dir=target.parent) as unfinished:
    new = RunFolder(Path(unfinished) / target.name)
    new.path.mkdir()
    values = _write(run, new, smaller, origin, mean)
    write_json(new.run, {**describe_machine(command, time.perf_counter() - started), 'made_from': origin})
    os.rename(new.path, target)
  return values


def _write(run: OpenRun, new: RunFolder, variables: dict, origin: dict, mean: dict[str, np.ndarray]) -> dict:
  """Tests the new variables beside the old ones, and writes the new run folder except run.json."""
  config = run.config.with_model(num_kernels=origin['kernels'])
  spec, step, batch_size = run.restored.spec, run.restored.step, config.train.batch_size
  model = build.build_model(config.model, config.train.precision, run.devices.platform, len(spec.channels.names),
                            len(spec.classes), spec.image_size)
  evaluate = run.evaluator(model)
  replicated, test_batches = run.devices.replicate(variables), run.batches('test')
  validation = evaluate(replicated, run.data.splits['val'], run.batches('val'), 'val')
  test = evaluate(replicated, run.data.splits['test'], test_batches, 'test')
  original = run.evaluator()(run.variables, run.data.splits['test'], test_batches, 'test of the original')
  per_epoch = steps_per_epoch(len(run.data.splits['train'].labels), batch_size)
  finished = RunFolder(Path(origin['run'])).read_results()  # None where the run is not finished
  epochs = finished['epochs'] if finished else config.train.in_epochs(per_epoch).epochs
  values = {
      'made_from': origin,
      'layers': [{'layer': name, 'mean_attention': weights.tolist(),
                  'kept': strongest(weights, origin['kernels']).tolist() if origin['method'] == 'pruned' else []}
                 for name, weights in mean.items()],
      'original': _figures(original, model_size(run.restored.model, spec.image_size)),
      'compressed': _figures(test, model_size(model, spec.image_size)),
      'difference': compare(test, original).to_json(),  # compressed minus original
  }
  with Checkpoints(new.checkpoints) as checkpoints:
    checkpoints.save_best(step, variables, spec, (validation.accuracy.rate, -validation.loss))
  test.save(new.predictions)
  write_json(new.compression, values)
  new.write_config(config.to_file())
  write_json(new.results, summarise(config, run.data, model, spec,
                                    Outcome(epochs, step // per_epoch, validation, test)))
  return values


def _figures(test: Predictions, size: dict) -> dict:
  return {**test.accuracy.to_json(), **size}


def _claim_parent(target: Path) -> None:
  """Raises UserError where the folder cannot be created or is already something else."""
  if target.exists() and not RunFolder(target).compression.exists():
    _refuse_taken(target)
  make_writable(target.parent, target)


def _refuse_taken(target: Path) -> None:
  raise UserError(f'--output {target} exists and is no compression of this run: give a folder that does not exist')


def _digest(variables: Any) -> str:
  """A hash of all arrays, so that a run trained anew in the same folder is not mistaken for the earlier one."""
  digest = hashlib.blake2b(digest_size=8)
  for name, array in sorted(by_path(variables).items()):
    digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()


def run(request: Request) -> None:
  """Compresses a run and prints the loss of accuracy and the savings."""
  output, keep = request.flags['output'], request.number('keep') if request.flags['keep'] else 0
  with StopSignals():  # so that unfinished output is deleted
    values = run_compression(request.config, request.folder, output, keep, request.words)
  log_lines(compression_lines(values, Path(output)))


def compression_lines(values: dict, output: Path) -> list[str]:
  """The original and the smaller run side by side, whether they can be told apart, and what to try next.

  Args:
    values: contents of compression.json.
    output: folder of the smaller run.
  """
  origin = values['made_from']
  name = origin['method']
  how = 'merged into one' if name == 'merged' else f'pruned to {origin["kernels"]}'
  rows = [[title, accuracy_text(Accuracy(figures['correct'], figures['count'])),
           *(grouped(figures[field]) for field in ('parameters', 'macs', 'flops'))]
          for title, figures in (('original', values['original']), (name, values['compressed']))]
  saved = values['original']['macs'] / values['compressed']['macs']
  return [
      '', f'{origin["run"]}, step {origin["step"]}, its {origin["of"]} kernels in each layer {how}:', '',
      *table_lines(['network', 'test accuracy [95% interval]', 'parameters', 'MACs', 'FLOPs'], rows), '',
      verdict(PairedDifference.from_json(values['difference']), f'the {name} network', 'the original'),
      f'{saved:.2f} times fewer MACs per image (mix outputs)',
      '', f'everything in {output}; it evaluates and predicts like any other run',
      '', 'next: what missing channels cost it now, or some more training, in a folder of its own:',
      f'  {invocation.command("subsets", workdir=output)}',
      '  ' + invocation.command('train', **{'config': '...', 'config.model.num_kernels': origin['kernels'],
                                            'config.train.init_from': output, 'workdir': '...'}),
  ]

"""Trains a run, or resumes it, and prints its result."""

from pathlib import Path

from mils_jax import invocation
from mils_jax.commands import Request
from mils_jax.metrics import Accuracy
from mils_jax.progress import log_lines
from mils_jax.report.text import channels_text, grouped
from mils_jax.run import run_training
from mils_jax.run_config import RunConfig


def run(request: Request) -> None:
  """Trains a run, or prints the result of a finished one."""
  results = run_training(request.config, request.folder, request.words)
  log_lines(result_lines(results, request.config, request.folder.path))


def result_lines(results: dict, config: RunConfig, folder: Path) -> list[str]:
  """A run's result, the folder of its files, and what to try next."""
  test, validation = (Accuracy(results[split]['correct'], results[split]['count']) for split in ('test', 'validation'))
  mix = ' (mix outputs)' if getattr(config.model, 'num_kernels', 1) > 1 else ''
  size = 'x'.join(map(str, results['image_shape'][:2]))
  return [
      '',
      f'{results["name"]}: {results["model"]}, {size} images, channels {channels_text(results)}',
      f'  test accuracy   {test}',
      f'  balanced        {results["test"]["balanced_accuracy"]:.2%} (mean of the accuracies of the classes)',
      f'  validation      {validation}, best epoch {results["best_epoch"]} of {results["epochs"]}',
      f'  parameters      {grouped(results["parameters"])}',
      f'  MACs            {grouped(results["macs"])} per image{mix}',
      f'  FLOPs           {grouped(results["flops"])} per image (2 x MACs)',
      f'  everything in   {folder}',
      *(invocation.next_lines('what each missing channel costs', 'subsets', workdir=folder)
        if config.channel_dropout.method != 'none' else ()),
      *invocation.next_lines('classify images of your own', 'predict', workdir=folder, input='IMAGES'),
  ]

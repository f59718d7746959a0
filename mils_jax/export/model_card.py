"""The README.md of a folder for a hub: what the model is, its scores, its intended use, and how to load it.

It begins with the metadata that the Hugging Face Hub reads (https://huggingface.co/docs/hub/model-cards).
"""

import json
from typing import Any

import mils_jax
from mils_jax.data.sources.registry import set_name
from mils_jax.export.function import ExportedModel
from mils_jax.metrics import Accuracy
from mils_jax.models.network import title_of
from mils_jax.report.markdown import escape
from mils_jax.report.text import accuracy_text, grouped, listed_channels, percent, table_lines
from mils_jax.run_config import RunConfig
from mils_jax.subsets import read_subset_summary
from mils_jax.training.run_folder import RunFolder

SUBSETS_LISTED, CLASSES_LISTED = 31, 100
SCORES = (('balanced accuracy', 'balanced_accuracy', percent), ('macro F1', 'macro_f1', percent),
          ('NLL', 'loss', '{:.3f}'.format), ('ECE', 'calibration_error', percent))
LOAD = """```python
import mils_jax

classifier = mils_jax.load('hf://USER/NAME')            # or the path of this folder
probabilities = classifier(images, channels={channels})
```"""


def model_card(model: ExportedModel, folder: RunFolder) -> str:
  """The text of the card.

  Args:
    model: the exported model.
    folder: its run folder; the card includes results and subsets if they exist.
  """
  config, results = model.restored.config, folder.read_results()
  lines = [*_metadata(model, results), '', f'# {config.name}', '', *_summary(model), '', '## Input', '',
           *_input(model), '', '## Classes', '', *_classes(model), '', '## Results', '', *_results(results, config),
           *_subsets(read_subset_summary(folder)), '', '## Intended use and limits', '', *_limits(model), '',
           '## How to load', '', f'With mils-jax {mils_jax.__version__} or later:', '',
           LOAD.format(channels=list(model.restored.spec.trained)), '',
           'Images are (N, H, W, C) in the units above, their channels in any order, named; the result is '
           '(N, classes), each row summing to 1.']
  return '\n'.join(lines) + '\n'


def _metadata(model: ExportedModel, results: dict | None) -> list[str]:
  """The metadata as YAML, with every text written as JSON, which is valid YAML."""
  config = model.restored.config
  lines = ['---', 'library_name: mils-jax', 'pipeline_tag: image-classification', 'tags:',
           *(f'- {tag}' for tag in ('jax', 'flax', 'multispectral', config.model.name))]
  if results:
    data, scores = json.dumps(set_name(config.data)), results['test']
    lines += ['model-index:', f'- name: {json.dumps(config.name)}', '  results:', '  - task:',
              '      type: image-classification', '    dataset:', f'      name: {data}', f'      type: {data}',
              '      split: test', '    metrics:']
    for kind, title, name in (('accuracy', 'Accuracy', 'rate'),
                              ('balanced_accuracy', 'Balanced accuracy', 'balanced_accuracy'),
                              ('f1', 'Macro F1', 'macro_f1')):
      if name in scores:  # a run of an earlier version has fewer
        lines += [f'    - type: {kind}', f'      name: {title}', f'      value: {scores[name]:.6g}']
  return [*lines, '---']


def _summary(model: ExportedModel) -> list[str]:
  restored = model.restored
  height, width, _ = model.image_shape
  return [f'{title_of(restored.config.model.name)}, which sorts images of {height} x {width} pixels into '
          f'{len(model.classes)} classes, from whichever of its {len(restored.spec.trained)} channels are there. '
          f'Trained with mils-jax on {set_name(restored.config.data)}; the weights of the best epoch by validation '
          f'(step {restored.step}). Every setting is in `config.json`.']


def _input(model: ExportedModel) -> list[str]:
  spec = model.restored.spec
  rows = [[escape(name), escape(unit) or 'as stored', f'{mean:.6g}', f'{std:.6g}',
           'yes' if name in spec.trained else 'no']
          for name, unit, mean, std in zip(spec.channels.names, spec.channels.units, spec.channels.mean,
                                           spec.channels.std, strict=True)]
  return ['Values are given as the data has them, in these units; the model normalizes them itself.', '',
          *table_lines(['channel', 'unit', 'mean', 'std', 'trained'], rows, words=['unit', 'trained'])]


def _classes(model: ExportedModel) -> list[str]:
  more = len(model.classes) - CLASSES_LISTED
  listed = escape(', '.join(model.classes[:CLASSES_LISTED]))
  return [listed + (f' and {more} more, in `export.json`' if more > 0 else '')]


def _results(results: dict[str, Any] | None, config: RunConfig) -> list[str]:
  if results is None:
    return ['The run was not finished when it was exported: it has not been tested.']
  scores = results['test']
  rows = [['accuracy [95% interval]', accuracy_text(Accuracy(scores['correct'], scores['count']))],
          *([title, shown(scores[name])] for title, name, shown in SCORES if name in scores)]
  return [f'On the {grouped(scores["count"])} test images of {set_name(config.data)}, tested once, one seed '
          f'({config.train.seed}):', '', *table_lines(['score', 'value'], rows)]


def _subsets(summary: dict[str, Any] | None) -> list[str]:
  """Lists every subset, or mean and worst of each size where there are many; empty where none was tested."""
  if not summary:
    return []
  lines = ['', 'By the channels that are given:', '']
  if len(summary['subsets']) <= SUBSETS_LISTED:
    rows = [[escape(', '.join(row['channels'])), accuracy_text(Accuracy(row['correct'], row['count']))]
            for row in summary['subsets']]
    return [*lines, *table_lines(['channels', 'accuracy [95% interval]'], rows)]
  rows = [[f'{row["size"]} of {len(summary["channels"])}', str(row['number']), percent(row['mean']),
           accuracy_text(Accuracy(row['worst']['correct'], row['worst']['count'])),
           escape(listed_channels(row['worst']['channels']))] for row in summary['sizes']]
  return [*lines, *table_lines(['channels', 'subsets', 'mean', 'worst [95% interval]', 'which'], rows, words=['which'])]


def _limits(model: ExportedModel) -> list[str]:
  config, spec = model.restored.config, model.restored.spec
  never = [name for name in spec.channels.names if name not in spec.trained]
  lines = [f'For images like those of {set_name(config.data)}: of the same sensors or stains, resolution and classes. '
           'An image of no class gets one of them all the same.',
           'The figures above hold for that test set; on other data, test it first (`mils-jax evaluate` on the run).']
  if config.channel_dropout.method == 'none' and len(spec.trained) > 1:
    lines.append('It was not trained with missing channels: without one of them it may be far worse.')
  if never:
    lines.append('It has inputs that training never had, which are always taken as missing: '
                 f'{escape(", ".join(never))}.')
  return [f'- {line}' for line in lines]

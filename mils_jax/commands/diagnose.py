"""Diagnoses whether a network uses its kernels, by the entropy of its attention and the effect of freezing it."""

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np

from mils_jax import invocation
from mils_jax.channel_subsets import Subset, in_order, usual_subsets
from mils_jax.commands import Request
from mils_jax.data.loader import OnDevice, OnHost
from mils_jax.errors import UserError
from mils_jax.metrics.attention import AttentionReader, entropy
from mils_jax.models import networks
from mils_jax.progress import bar, counted, log, log_lines
from mils_jax.report.text import listed_channels, table_lines
from mils_jax.restore import OpenRun, open_run
from mils_jax.run_config import RunConfig, check_owner
from mils_jax.training.run_folder import RunFolder, write_json

FROZEN_ON = 512  # evenly spaced test images on which layers are frozen one after the other
UNIFORM_ABOVE = 0.99  # entropy of the mean attention, as a share of log K
COLLAPSED_BELOW = 0.05  # the same share
SAME_BELOW = 0.01  # largest std over images of any kernel's weight
LISTED = 16  # most subsets that are all printed; of more, the full set and those with the smallest and largest change


@dataclasses.dataclass(frozen=True)
class Change:
  """The effect of frozen attention on the logits.

  Attributes:
    logits: root mean square of their change, as a share of their standard deviation over images and classes.
    classes: number of images whose predicted class changes.
    count: number of images.
  """

  logits: float
  classes: int
  count: int

  @classmethod
  def of(cls, before: np.ndarray, after: np.ndarray) -> 'Change':
    """Computes the change from logits (N, classes) without and with frozen attention."""
    std = max(float(before.std(dtype=np.float64)), float(np.finfo(np.float32).tiny))
    change = float(np.sqrt(np.square(after - before, dtype=np.float64).mean()))
    return cls(change / std, int((before.argmax(axis=1) != after.argmax(axis=1)).sum()), len(before))


@dataclasses.dataclass(frozen=True)
class LayerDiagnosis:
  """One layer's attention over a split.

  Attributes:
    layer: name of the layer, such as 'stage1_block1/conv1'.
    mean: (K,) mean attention over the images.
    mean_entropy: mean entropy of the images' own attention, in nats.
    spread: standard deviation over the images of the kernel's weight that varies most.
    frozen: what changes when this layer's attention alone is fixed at its mean.
  """

  layer: str
  mean: np.ndarray
  mean_entropy: float
  spread: float
  frozen: Change

  @classmethod
  def of(cls, layer: str, attention: np.ndarray, frozen: Change) -> 'LayerDiagnosis':
    """Computes the diagnosis of a layer from its attention (N, K)."""
    return cls(layer, attention.mean(axis=0, dtype=np.float64), float(entropy(attention).mean()),
               float(attention.std(axis=0, dtype=np.float64).max()), frozen)

  @property
  def entropy_of_mean(self) -> float:
    """Entropy of the mean attention in nats: log K for equal weights, 0 where a single kernel has all the weight."""
    return float(entropy(self.mean))

  @property
  def used_as_one(self) -> str:
    """How the kernels are used as one: 'collapsed', 'near-uniform' or 'fixed mixture'; '' where they are not."""
    share = self.entropy_of_mean / math.log(len(self.mean))
    if share < COLLAPSED_BELOW:
      return 'collapsed'
    if self.spread >= SAME_BELOW:
      return ''
    return 'near-uniform' if share > UNIFORM_ABOVE else 'fixed mixture'

  def to_json(self) -> dict:
    """The entry of a layer in diagnostics.json."""
    return {'layer': self.layer, 'mean_attention': self.mean.tolist(), 'entropy_of_mean': self.entropy_of_mean,
            'mean_entropy': self.mean_entropy, 'spread': self.spread, 'used_as_one': self.used_as_one,
            'logit_change_if_frozen': self.frozen.logits, 'classes_changed_if_frozen': self.frozen.classes}


@dataclasses.dataclass(frozen=True)
class SubsetDiagnosis:
  """All layers with some of the channels.

  Attributes:
    channels: the present channels.
    layers: in the order of the computation.
    all_frozen: what changes when every layer's attention is fixed at its mean.
  """

  channels: Subset
  layers: tuple[LayerDiagnosis, ...]
  all_frozen: Change

  def to_json(self) -> dict:
    """The entry of a subset in diagnostics.json."""
    return {'channels': list(self.channels), 'layers': [layer.to_json() for layer in self.layers],
            'logit_change_if_all_frozen': self.all_frozen.logits,
            'classes_changed_if_all_frozen': self.all_frozen.classes}


@dataclasses.dataclass(frozen=True)
class DiagnosticReport:
  """A network's attention over the test split.

  Attributes:
    num_kernels: K.
    count: number of test images.
    subsets: subsets of the channels, smaller ones first; the last has all channels.
  """

  num_kernels: int
  count: int
  subsets: tuple[SubsetDiagnosis, ...]

  @property
  def full(self) -> SubsetDiagnosis:
    """The diagnosis with all channels."""
    return self.subsets[-1]

  def to_json(self) -> dict:
    """The contents of diagnostics.json."""
    return {'num_kernels': self.num_kernels, 'count': self.count, 'frozen_on': self.full.all_frozen.count,
            'subsets': [subset.to_json() for subset in self.subsets]}


def open_attention(config: RunConfig, folder: RunFolder) -> tuple[OpenRun, AttentionReader]:
  """Opens a run so that its attention can be read; raises UserError as `check_attention` and `open_run` do."""
  check_owner(folder, config, free=('data',))
  check_attention(config, folder)
  run = open_run(folder, config)
  reader = AttentionReader(run.restored.model, run.restored.spec.image_size, run.fitting.mapping, run.devices,
                           config.train.batch_size)
  return run, reader


def check_attention(config: RunConfig, folder: RunFolder) -> None:
  """Raises UserError for a network that mixes no kernels."""
  dynamic = ', '.join(name for name, network in networks().items() if hasattr(network, 'num_kernels'))
  if not hasattr(config.model, 'num_kernels'):
    raise UserError(f'{folder.path} has no dynamic convolutions: model.name={config.model.name}. Expected a run of '
                    f'{dynamic}')
  if config.model.num_kernels == 1:
    raise UserError(f'{folder.path} has model.num_kernels=1 and so no attention. Expected a run of {dynamic} with '
                    'model.num_kernels of at least 2')


def diagnose(run: OpenRun, reader: AttentionReader) -> DiagnosticReport:
  """Reads the attention of an open run over the test split."""
  channels, batches = run.fitting.channels, run.batches('test')
  subsets = in_order(usual_subsets(channels), channels)
  log(f'{counted(len(reader.layers), "layer")} of {reader.num_kernels} kernels, '
      f'{counted(len(subsets), "subset")} of the channels')
  diagnoses = tuple(_diagnose(run, reader, batches, subset, f'subset {number} of {len(subsets)}')
                    for number, subset in enumerate(subsets, 1))
  return DiagnosticReport(reader.num_kernels, len(run.data.splits['test'].labels), diagnoses)


def _diagnose(run: OpenRun, reader: AttentionReader, batches: OnDevice | OnHost, subset: Subset,
              description: str) -> SubsetDiagnosis:
  count, layers = len(run.data.splits['test'].labels), len(reader.layers)
  keep = np.array([channel in subset for channel in run.restored.spec.channels.names])
  everything = np.arange(count, dtype=np.int32)
  some = np.linspace(0, count - 1, min(count, FROZEN_ON)).round().astype(np.int32)
  with bar(description, count + (layers + 1) * len(some)) as advance:

    def read(rows: np.ndarray, frozen: tuple[np.ndarray, np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
      parts = []
      for part in reader(run.variables, rows, batches, keep, frozen):
        parts.append(part)
        advance(len(part[0]))
      logits, attention = (np.concatenate(values) for values in zip(*parts, strict=True))
      return logits, attention

    logits, attention = read(everything)  # (N, classes), (N, L, K)
    means = attention.mean(axis=0, dtype=np.float64).astype(np.float32)

    def change(frozen: np.ndarray) -> Change:
      return Change.of(logits[some], read(some, (means, frozen))[0])

    diagnoses = tuple(LayerDiagnosis.of(name, attention[:, place], change(np.arange(layers) == place))
                      for place, name in enumerate(reader.layers))
    return SubsetDiagnosis(subset, diagnoses, change(np.ones(layers, bool)))


def run(request: Request) -> None:
  """Diagnoses a run, keeps the figures in diagnostics.json and prints them."""
  report = diagnose(*open_attention(request.config, request.folder))
  write_json(request.folder.diagnostics, report.to_json())
  log_lines(diagnostic_lines(report, request.folder.path))


def diagnostic_lines(report: DiagnosticReport, folder: Path) -> list[str]:
  """Every layer with all channels, each subset in a row, and whether the kernels are used as one."""
  highest = math.log(report.num_kernels)
  layers = [_layer_row(layer, highest) for layer in report.full.layers]
  subsets = [_subset_row(subset, highest) for subset in _listed(report)]
  return [
      '', f'attention over {report.num_kernels} kernels on {report.count} test images with all channels; frozen at its '
      f'mean on {report.full.all_frozen.count} of them:', '',
      *table_lines(['layer', 'mean attention', 'entropy of mean', 'mean entropy', 'spread', 'change of logits',
                    'classes changed', 'used as one'], layers, words=['used as one']), '',
      f'entropies: as a share of log {report.num_kernels}; spread: std over images of the kernel that varies most;',
      'change of logits: root mean square, as a share of their std', '',
      'by the channels that are given, with every layer frozen at its mean:', '',
      *table_lines(['channels', 'entropy of mean', 'mean entropy', 'change of logits', 'classes changed',
                    'layers used as one'], subsets), '',
      *verdict(report.full), '', f'everything in {folder / "diagnostics.json"}',
  ]


def verdict(subset: SubsetDiagnosis) -> list[str]:
  """How many layers use their kernels as one, with advice, and how this is judged."""
  ways = Counter(layer.used_as_one for layer in subset.layers if layer.used_as_one)
  used = ', '.join(f'{number} {way}' for way, number in ways.items()) or 'none'
  advice = ''
  if ways.total() == len(subset.layers):
    advice = f': {invocation.mode("compress")} makes them one, for a fraction of the cost'
  return [f'{ways.total()} of {len(subset.layers)} layers use their kernels as one ({used}){advice}.',
          f'Near-uniform: entropy of the mean above {UNIFORM_ABOVE:.0%} of log K, spread below {SAME_BELOW:g}; fixed '
          f'mixture: such a spread,',
          f'another mean; collapsed: entropy of the mean below {COLLAPSED_BELOW:.0%} of log K.']


def _listed(report: DiagnosticReport) -> list[SubsetDiagnosis]:
  if len(report.subsets) <= LISTED:
    return list(report.subsets)
  *others, full = report.subsets
  others.sort(key=lambda subset: subset.all_frozen.logits)
  return [*others[:LISTED // 2], *others[-LISTED // 2 + 1:], full]


def _layer_row(layer: LayerDiagnosis, highest: float) -> list[str]:
  return [layer.layer, ' '.join(f'{weight:.3f}' for weight in layer.mean), f'{layer.entropy_of_mean / highest:.1%}',
          f'{layer.mean_entropy / highest:.1%}', f'{layer.spread:.4f}', f'{layer.frozen.logits:.2%}',
          f'{layer.frozen.classes} of {layer.frozen.count}', layer.used_as_one or 'no']


def _subset_row(subset: SubsetDiagnosis, highest: float) -> list[str]:
  layers, frozen = subset.layers, subset.all_frozen
  of_mean, mean = (sum(values) / len(layers) / highest for values in zip(
      *((layer.entropy_of_mean, layer.mean_entropy) for layer in layers), strict=True))
  return [listed_channels(subset.channels), f'{of_mean:.1%}', f'{mean:.1%}', f'{frozen.logits:.2%}',
          f'{frozen.classes} of {frozen.count}', f'{sum(bool(layer.used_as_one) for layer in layers)} of {len(layers)}']

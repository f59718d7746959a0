"""Whether a network uses its kernels: the entropy of its attention, and what freezing it changes, layer by layer."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mils_jax import build
from mils_jax.attention_run import AttentiveRun, open_attention
from mils_jax.channel_subsets import EvaluationOptions, Subset, select_subsets
from mils_jax.commands.request import Request
from mils_jax.data.loader import OnDevice, OnHost, place_split
from mils_jax.metrics.attention import Frozen, entropy
from mils_jax.progress import bar, log, log_lines
from mils_jax.run_config import RunConfig
from mils_jax.training.run_folder import RunFolder, write_json

ALL_SUBSETS_UP_TO = 3  # channels; of more, every single one, every set that lacks one, and all
FROZEN_ON = 512  # test images, evenly spaced, on which layers are frozen one after the other
UNIFORM_ABOVE = 0.99  # of log K, entropy of the mean attention
COLLAPSED_BELOW = 0.05  # likewise
SAME_BELOW = 0.01  # spread: no kernel's weight deviates more over the images


@dataclasses.dataclass(frozen=True)
class Change:
  """What frozen attention does to the logits.

  Attributes:
    logits: root mean square of their change, as a share of their standard deviation over images and classes.
    classes: number of images whose predicted class changes.
    count: of images.
  """

  logits: float
  classes: int
  count: int

  @classmethod
  def of(cls, before: np.ndarray, after: np.ndarray) -> 'Change':
    """From logits (N, classes) without and with frozen attention."""
    deviation = max(float(before.std(dtype=np.float64)), np.finfo(np.float32).tiny)
    change = float(np.sqrt(np.square(after - before, dtype=np.float64).mean()))
    return cls(change / deviation, int((before.argmax(axis=1) != after.argmax(axis=1)).sum()), len(before))


@dataclasses.dataclass(frozen=True)
class LayerDiagnosis:
  """One layer's attention over a split.

  Attributes:
    layer: name, such as 'stage1_block1/conv1'.
    mean: (K,) attention, over the images.
    mean_entropy: of the images' own attention, in nats.
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
    """From attention (N, K)."""
    return cls(layer, attention.mean(axis=0, dtype=np.float64), float(entropy(attention).mean()),
               float(attention.std(axis=0, dtype=np.float64).max()), frozen)

  @property
  def entropy_of_mean(self) -> float:
    """In nats; log K where all kernels count alike, 0 where one is all."""
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
    return {'layer': self.layer, 'mean_attention': self.mean.tolist(), 'entropy_of_mean': self.entropy_of_mean,
            'mean_entropy': self.mean_entropy, 'spread': self.spread, 'used_as_one': self.used_as_one,
            'logit_change_if_frozen': self.frozen.logits, 'classes_changed_if_frozen': self.frozen.classes}


@dataclasses.dataclass(frozen=True)
class SubsetDiagnosis:
  """All layers with some of the channels.

  Attributes:
    channels: that were there.
    layers: in the order of the computation.
    all_frozen: what changes when every layer's attention is fixed at its mean.
  """

  channels: Subset
  layers: tuple[LayerDiagnosis, ...]
  all_frozen: Change

  def to_json(self) -> dict:
    return {'channels': list(self.channels), 'layers': [layer.to_json() for layer in self.layers],
            'logit_change_if_all_frozen': self.all_frozen.logits,
            'classes_changed_if_all_frozen': self.all_frozen.classes}


@dataclasses.dataclass(frozen=True)
class DiagnosticReport:
  """A network's attention over the test split.

  Attributes:
    kernels: K.
    count: test images.
    subsets: of the channels, smaller ones first; the last is all.
  """

  num_kernels: int
  count: int
  subsets: tuple[SubsetDiagnosis, ...]

  @property
  def full(self) -> SubsetDiagnosis:
    return self.subsets[-1]

  def to_json(self) -> dict:
    return {'num_kernels': self.num_kernels, 'count': self.count, 'frozen_on': self.full.all_frozen.count,
            'subsets': [subset.to_json() for subset in self.subsets]}

  def save(self, folder: RunFolder) -> None:
    """Writes diagnostics.json."""
    write_json(folder.diagnostics, self.to_json())


def run_diagnostics(config: RunConfig, folder: RunFolder) -> DiagnosticReport:
  """Reads the attention of a run's best checkpoint over the test split; raises UserError as `open_attention` does."""
  return diagnose(open_attention(config, folder))


def diagnose(run: AttentiveRun) -> DiagnosticReport:
  """Reads the attention of an opened run over the test split."""
  subsets = diagnosed_subsets(build.used_channels(run.config, run.data))
  batches = place_split(run.data.splits['test'], run.devices, run.config.runtime.data_placement)
  log(f'restored step {run.restored.step}; {len(run.layers)} layers of {run.kernels} kernels, {len(subsets)} subsets')
  diagnoses = tuple(_diagnose(run, batches, subset, f'subset {number} of {len(subsets)}')
                    for number, subset in enumerate(subsets, 1))
  return DiagnosticReport(run.kernels, len(run.data.splits['test'].labels), diagnoses)


def diagnosed_subsets(channels: Sequence[str]) -> list[Subset]:
  """Every non-empty subset of up to three channels; of more, the single ones, those that lack one, and all."""
  return select_subsets(channels, EvaluationOptions(ALL_SUBSETS_UP_TO, sampled_subsets=0))


def _diagnose(run: AttentiveRun, batches: OnDevice | OnHost, subset: Subset, description: str) -> SubsetDiagnosis:
  count, layers = len(run.data.splits['test'].labels), len(run.layers)
  keep = np.array([channel in subset for channel in run.restored.spec.channels.names])
  everything = np.arange(count, dtype=np.int32)
  some = np.linspace(0, count - 1, min(count, FROZEN_ON)).round().astype(np.int32)
  with bar(description, count + (layers + 1) * len(some)) as advance:

    def read(rows: np.ndarray, frozen: Frozen | None = None) -> tuple[np.ndarray, np.ndarray]:
      parts = []
      for part in run.read(run.variables, rows, batches, keep, frozen):
        parts.append(part)
        advance(len(part[0]))
      return tuple(np.concatenate(values) for values in zip(*parts, strict=True))

    logits, attention = read(everything)  # (N, classes), (N, L, K)
    means = attention.mean(axis=0, dtype=np.float64).astype(np.float32)

    def change(frozen: np.ndarray) -> Change:
      return Change.of(logits[some], read(some, Frozen(means, frozen))[0])

    diagnoses = tuple(LayerDiagnosis.of(name, attention[:, place], change(np.arange(layers) == place))
                      for place, name in enumerate(run.layers))
    return SubsetDiagnosis(subset, diagnoses, change(np.ones(layers, bool)))


def run(request: Request) -> None:
  from mils_jax.report.diagnostics import diagnostic_lines

  report = run_diagnostics(request.config, request.folder)
  report.save(request.folder)
  log_lines(diagnostic_lines(report, request.folder.path))

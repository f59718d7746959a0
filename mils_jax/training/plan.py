"""The plan of a run: its options, and the objects that a configuration was turned into."""

import dataclasses
from collections.abc import Mapping

import optax
from flax import linen as nn

from mils_jax.channel_dropout import ChannelDropout, Masks
from mils_jax.channels import ChannelMapping
from mils_jax.config import Section, option
from mils_jax.data.augment import Augmentation
from mils_jax.data.cache.dataset import CachedDataset
from mils_jax.data.order import steps_per_epoch
from mils_jax.distributed.devices import Devices
from mils_jax.distributed.runtime import RuntimeOptions
from mils_jax.errors import UserError
from mils_jax.training.cadence import CheckpointOptions
from mils_jax.training.record import ModelSpec
from mils_jax.training.run_folder import RunFolder
from mils_jax.training.selection import BEST_BY, SUBSETS


@dataclasses.dataclass(frozen=True)
class TrainOptions(Section, section='train'):
  """How long to train, in what batches, and what to do about non-finite numbers."""

  epochs: int = option(6, 'passes over the training split; 0: set by train.steps', low=0)
  steps: int = option(0, 'minimum training steps, rounded up to whole epochs; 0: set by train.epochs', low=0)
  batch_size: int = option(64, 'images per batch, over all devices', low=1)
  accumulation: int = option(1, 'parts of each batch computed one after the other, to save memory', low=1)
  sampling: str = option('shuffled', 'how epochs are sampled: every image once (shuffled) or equally many of each '
                         'class (balanced)', choices=('shuffled', 'balanced'))
  class_weights: str = option('none', 'class weights in the loss: none, balanced (inverse frequency) or '
                              "'bare=3,water=0.5' (others 1)")
  patience: int = option(0, 'epochs without a better validation score before training stops; 0: never', low=0)
  seed: int = option(0, 'random seed of training: initial weights, data order, augmentation, dropout', low=0,
                     high=2**32 - 1)  # JAX's keys hold 32 bits of it
  best_by: str = option('accuracy', 'validation score that picks the best epoch; subsets: accuracy with all and with '
                        'dropped channels', choices=(*BEST_BY, SUBSETS))
  ema_decay: float = option(0.0, 'decay per step of averaged weights, which are validated, tested and exported; 0: '
                            'none', low=0, below=1)
  label_smoothing: float = option(0.1, 'fraction of the target spread over all classes', low=0, below=1)
  precision: str = option('auto', 'dtype of the computation; auto: bfloat16 on GPU and TPU, float32 on CPU',
                          choices=('auto', 'float32', 'bfloat16'))
  on_nonfinite: str = option('stop', 'response to NaN or Inf in the loss, a gradient or a parameter: stop the run or '
                             'skip the step', choices=('stop', 'skip'))
  nonfinite_limit: int = option(10, 'maximum number of skipped steps before the run stops anyway', low=1)
  deterministic: bool = option(False, 'bit-identical results on GPUs, with slower kernels')
  init_from: str = option('', 'initial weights: run folder or PyTorch file (.safetensors; .pth and .pt with the extra '
                          'torch)', path=True)

  def __post_init__(self):
    super().__post_init__()
    if (self.epochs > 0) == (self.steps > 0):
      raise UserError(f'train.epochs={self.epochs} and train.steps={self.steps}: one of them sets the length, the '
                      'other must be 0')

  def in_epochs(self, steps_per_epoch: int) -> 'TrainOptions':
    """The same options with `epochs` derived from `steps`, where these are given."""
    return dataclasses.replace(self, epochs=-(-self.steps // steps_per_epoch), steps=0) if self.steps else self


@dataclasses.dataclass(frozen=True)
class StepPlan:
  """The parts of one training step.

  Attributes:
    model: the network; its axis_name is that of the devices.
    mapping: mapping of the data's channels to the model's input channels.
    train: epochs, label smoothing, seed, and what to do with non-finite numbers.
    optimizer: optimizer of the parameters.
    steps_per_epoch: number of steps after which the sums of an epoch's metrics are reset.
    augmentation: augmentation of the stored images.
    channel_dropout: which channels a training sample keeps.
    schedules: schedules of values that the model reads, by name.
    class_weights: weight of each class in the loss; empty: all equal.
    frozen: name prefixes of modules whose statistics are frozen; the optimizer freezes their parameters.
    subsets: subsets of the input channels that channel dropout prefers.
  """

  model: nn.Module
  mapping: ChannelMapping
  train: TrainOptions
  optimizer: optax.GradientTransformation
  steps_per_epoch: int
  augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
  channel_dropout: ChannelDropout = dataclasses.field(default_factory=ChannelDropout)
  schedules: Mapping[str, optax.Schedule] = dataclasses.field(default_factory=dict)
  class_weights: tuple[float, ...] = ()
  frozen: tuple[str, ...] = ()
  subsets: Masks = ()


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
  """All parts of a run; built from a configuration by build.py.

  Attributes:
    folder: the run folder.
    data: the dataset.
    devices: devices that share each batch.
    step: parts of a training step.
    learning_rate: learning rate by step, for the logs.
    spec: specification that is saved with every checkpoint.
    checkpoint: when to save within an epoch.
    runtime: where and how to compute.
  """

  folder: RunFolder
  data: CachedDataset
  devices: Devices
  step: StepPlan
  learning_rate: optax.Schedule
  spec: ModelSpec
  checkpoint: CheckpointOptions
  runtime: RuntimeOptions

  @property
  def train(self) -> TrainOptions:
    return self.step.train

  @property
  def steps(self) -> int:
    """Number of training steps in the whole run."""
    return self.train.epochs * steps_per_epoch(len(self.data.splits['train']), self.train.batch_size)

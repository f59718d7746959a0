"""One trained model on every subset of its channels, tested with the others absent."""

import itertools
from collections.abc import Sequence

import numpy as np

from mils_jax import build
from mils_jax.channels import check_names
from mils_jax.data.batches import gather
from mils_jax.evaluation.predictions import Evaluator, Predictions
from mils_jax.progress import say
from mils_jax.studies.restored import restore
from mils_jax.training.run_folder import RunFolder

ALL_UP_TO = 8  # channels; of more, not every subset is tested


def subsets_of(channels: Sequence[str]) -> list[tuple[str, ...]]:
  """Every non-empty subset, the smallest first; above 8 channels the single ones, all but one, and all."""
  sizes = range(1, len(channels) + 1) if len(channels) <= ALL_UP_TO else (1, len(channels) - 1, len(channels))
  return [subset for size in sizes for subset in itertools.combinations(channels, size)]


def subset_predictions(folder: RunFolder, subsets: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], Predictions]:
  """What a run's best checkpoint says of each test picture, given only some channels, for each of the subsets.

  Raises:
    UserError: the run has no checkpoint, or a subset names a channel that is no slot.
  """
  restored = restore(folder)
  slots = restored.contract.channels.slots
  for subset in subsets:
    check_names(subset, 'channel', slots)
  data = build.open_data(restored.config)
  devices = build.build_devices(restored.config)
  test = data.splits['test']
  evaluator = Evaluator(restored.model, build.placement(restored.config, data, restored.contract.channels), devices,
                        restored.config.train.batch_size)
  batches = gather(test, devices, restored.config.runtime.gather)
  variables = devices.replicate(restored.variables)
  say(f'testing {folder.path.name} on {len(subsets)} subsets of {", ".join(slots)}')
  return {subset: evaluator(variables, test, batches, '+'.join(subset), np.isin(slots, subset)) for subset in subsets}

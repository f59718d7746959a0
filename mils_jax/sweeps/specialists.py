"""The runs of a sweep of specialists: one for each channel subset, and generalists for all of them.

The sweep's configuration has a section `specialists` instead of `runs`:

    generalist  fields that turn a specialist's configuration (`common`) into a generalist's
    subsets     'red,green,blue; nir'; empty: the usual ones of the data's channels (`usual_subsets`)
    groups      'red,green,blue; swir1,swir2': groups of channels that are used together, for the usual subsets
    seeds       seeds of every run
"""

from typing import Any

from ml_collections import ConfigDict

from mils_jax import build, schema
from mils_jax.channel_subsets import read_subsets, subset_name, usual_subsets
from mils_jax.data.order import steps_per_epoch
from mils_jax.errors import UserError
from mils_jax.files import shortened
from mils_jax.run_config import RunConfig

LONGEST = 200  # letters of a run's name; file systems take 255 bytes, of which its seed needs some
FIELDS = ('generalist', 'subsets', 'groups', 'seeds')


def specialist_runs(specialists: ConfigDict, common: ConfigDict) -> list[tuple]:
  """(name, base configuration, overrides, seeds) of each run.

  The generalist is trained twice: for as many epochs as one specialist, and for as many as all of them together. Named
  subsets are passed to its training too (channel_dropout.subsets), as a user who knows them would do.

  Args:
    specialists: the section `specialists`.
    common: configuration of a specialist.

  Raises:
    UserError: a field is missing, a subset names no channel of the data, or there are fewer than two.
  """
  values: Any = specialists
  missing = [field for field in FIELDS if field not in values]
  if missing:
    raise UserError(f"the sweep's section specialists has no {missing[0]}. Expected {', '.join(FIELDS)}")
  if isinstance(values.seeds, int):
    raise UserError(f'specialists.seeds={values.seeds}: expected several, as (0, 1, 2), or one, as (0,)')
  if values.subsets and values.groups:
    raise UserError('specialists.groups are for the usual subsets, specialists.subsets names all: give one of them')
  recipe = RunConfig.read(common)
  data = build.open_data(recipe)
  channels = build.used_channels(recipe, data)
  subsets = read_subsets(values.subsets, channels) or usual_subsets(channels, read_subsets(values.groups, channels))
  if len(subsets) < 2:
    raise UserError(f'specialists for one subset, {", ".join(subsets[0])}: expected two or more')
  epochs = recipe.train.in_epochs(steps_per_epoch(len(data.splits['train']), recipe.train.batch_size)).epochs
  generalist = {'channel_dropout.subsets': values.subsets, **dict(schema.flattened(values.generalist.to_dict()))}
  seeds = values.seeds
  return [
      *((shortened(subset_name(subset), longest=LONGEST), common, {'channels.use': ','.join(subset)}, seeds)
        for subset in subsets),
      ('generalist', common, generalist, seeds),
      ('generalist-total', common,
       {**generalist, 'train.steps': 0, 'train.epochs': epochs * len(subsets)}, seeds),
  ]

"""A run that was exported once for all tests here."""

import pytest

from mils_jax.commands.export import run_export
from mils_jax.run_config import saved_config
from mils_jax.training.run_folder import RunFolder


@pytest.fixture(scope='session')
def hub_folder(small_runs, tmp_path_factory):
  """An export in the format hub."""
  folder = RunFolder(small_runs['dynamic_resnet12'])
  target, _ = run_export(saved_config(folder), folder, 'hub', str(tmp_path_factory.mktemp('hub') / 'shapes'))
  return target

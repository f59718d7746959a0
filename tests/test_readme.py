"""What the README says can be pasted, works."""

import re
from pathlib import Path

import pytest

from mils_jax.commands import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()


def test_every_mode_is_named():
  assert all(f'`{mode}`' in README for mode in COMMANDS)


def test_every_config_and_every_file_that_is_named_exists():
  for name in set(re.findall(r'(?:configs|docs)/\w+\.\w+', README)):
    assert (ROOT / name).exists(), name


def test_the_map_names_every_folder():
  for folder in (ROOT / 'mils_jax').iterdir():
    if folder.is_dir() and folder.name != '__pycache__':
      assert f'{folder.name}/' in README


@pytest.mark.parametrize('field', re.findall(r'--config\.([\w.]+)=', README))
def test_every_field_that_is_named_is_one(field):
  from configs import resnet34, task_a, task_b
  from configs.sweeps import table2
  configs = [module.get_config().to_dict() for module in (task_a, task_b, resnet34, table2)]

  def has(config):
    for part in field.split('.'):
      if part not in config:
        return False
      config = config[part]
    return True

  assert any(has(config) for config in configs) or field.removeprefix('common.') == 'FIELD'

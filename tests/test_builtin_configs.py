import ast
from pathlib import Path

import pytest

from mils_jax.builtin_configs import builtin_configs, find_config, summary
from mils_jax.errors import UserError

ROOT = Path(__file__).parents[1]


def test_every_file_with_a_configuration_has_a_name():
  files = {path.resolve() for path in (ROOT / 'configs').rglob('*.py') if 'def get_config' in path.read_text()}
  assert {path.resolve() for path in builtin_configs().values()} == files
  assert set(builtin_configs(sweeps=True)) == {path.stem for path in (ROOT / 'configs/sweeps').glob('*.py')}
  assert builtin_configs(sweeps=True) | builtin_configs(sweeps=False) == builtin_configs()


def test_every_one_has_a_summary():
  texts = [summary(path) for path in builtin_configs().values()]
  assert all(text.endswith('.') and len(text) > 20 for text in texts)
  assert len(set(texts)) == len(texts)


def test_no_configuration_depends_on_where_the_others_lie():
  """`configs` is a checkout's alone; installed they are mils_jax.configs."""
  for path in (ROOT / 'configs').rglob('*.py'):
    modules = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in modules if module and module.split('.')[0] == 'configs'], path


def test_a_name_and_a_path_are_found_and_a_wrong_one_is_told_with_the_nearest(tmp_path, monkeypatch):
  assert find_config('task_a').samefile(ROOT / 'configs/task_a.py')
  own = tmp_path / 'own.py'
  own.touch()
  assert find_config(str(own)) == own
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=r"unknown configuration 'task_aa'. Did you mean 'task_a'\? Valid: any_chann"):
    find_config('task_aa', sweeps=False)
  monkeypatch.chdir(ROOT)
  with pytest.raises(UserError, match=r"Did you mean 'configs/resnet34\.py'\? Valid: configs/any_channels\.py, "):
    find_config('configs/resnet43.py')

"""The built wheel, outside of any checkout. `.ci/smoke` tries the whole program in a new environment."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mils_jax

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there():
  assert all(hasattr(mils_jax, name) for name in mils_jax.__all__)
  with pytest.raises(AttributeError, match="no attribute 'nothing'"):
    _ = mils_jax.nothing


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """The wheel of a copy of the checkout, in which nothing is left behind."""
  folder = tmp_path_factory.mktemp('wheel')
  for name in ('mils_jax', 'configs'):
    shutil.copytree(ROOT / name, folder / 'source' / name, symlinks=True,
                    ignore=shutil.ignore_patterns('__pycache__'))
  for name in ('pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / name, folder / 'source')
  subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w',
                  folder / 'dist', folder / 'source'], check=True)
  (path,) = (folder / 'dist').glob('*.whl')
  return path


@pytest.mark.slow
def test_the_wheel_holds_every_module_configuration_and_file_and_nothing_else(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    entry_points = archive.read(next(name for name in names if name.endswith('entry_points.txt'))).decode()
    metadata = archive.read(next(name for name in names if name.endswith('/METADATA'))).decode()
  files = {path.relative_to(ROOT).as_posix() for suffix in ('py', 'css', 'typed')
           for path in (ROOT / 'mils_jax').rglob(f'*.{suffix}')}
  configs = {f'mils_jax/{path.relative_to(ROOT).as_posix()}' for path in (ROOT / 'configs').rglob('*.py')}
  assert {name for name in names if '.dist-info/' not in name} == files | configs
  assert 'mils-jax = mils_jax.__main__:start' in entry_points
  assert f'\nVersion: {mils_jax.__version__}\n' in metadata
  assert any(name.endswith('licenses/LICENSE') for name in names)


@pytest.mark.slow
def test_the_wheel_knows_its_configurations_and_one_of_ones_own_that_imports_them(wheel, tmp_path):
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(tmp_path / 'installed')
  (tmp_path / 'own.py').write_text('from mils_jax.configs.task_b import get_config\n')
  for config in ('task_b', 'own.py', 'own.py:mini_imagenet'):
    words = ['-m', 'mils_jax', 'cost', config, '--config.model.num_classes=3', '--config.channels.names=R,G',
             '--config.data.image_size=16', '--config.model.width=8', f'--workdir=runs/{config}']
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, 'PYTHONPATH': str(tmp_path / 'installed')})
    assert done.returncode == 0, done.stderr
    assert 'wide_cnn at ' in done.stdout
    assert f'python -m mils_jax cost runs/{config} --xla' in done.stdout

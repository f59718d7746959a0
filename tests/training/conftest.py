"""One undisturbed run, and its cache, for all tests of runs that are disturbed."""

import pytest

from tests.runs import run


@pytest.fixture(scope='session')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


@pytest.fixture(scope='session')
def whole(tmp_path_factory, cache):
  """A run that nothing disturbed, in a folder with spaces and non-ASCII letters."""
  folder = tmp_path_factory.mktemp('whole') / 'ein Lauf für Öl, 試験'
  done = run(folder, cache)
  assert done.returncode == 0, done.stderr
  return folder

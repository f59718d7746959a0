"""How much memory is free."""

import sys

import pytest

from mils_jax.distributed import memory


def test_the_memory_that_a_device_reports_is_used(monkeypatch):
  class Device:
    def memory_stats(self):
      return {'bytes_limit': 1000, 'bytes_in_use': 400}

  class Two:
    local = [Device(), Device()]  # noqa: RUF012

  assert memory.free_bytes_per_device(Two()) == 600


@pytest.mark.parametrize(('limit', 'stat', 'free'), [
    ('1000', 'anon 300\ninactive_file 500\nactive_file 50', 600), ('max', 'inactive_file 500', sys.maxsize),
    ('1000', None, sys.maxsize)])
def test_files_that_a_container_caches_are_no_memory_in_use(tmp_path, monkeypatch, limit, stat, free):
  for name, text in (('memory.max', limit), ('memory.current', '900'), ('memory.stat', stat)):
    if text is not None:
      (tmp_path / name).write_text(f'{text}\n')
  monkeypatch.setattr(memory, 'CGROUP', tmp_path)
  assert memory.free_container_bytes() == free


def test_the_hosts_free_memory_is_plausible():
  assert 2**20 < memory.free_host_bytes() < 2**50

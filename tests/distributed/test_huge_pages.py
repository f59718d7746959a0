import os
import subprocess
import sys

import pytest

from mils_jax.distributed import huge_pages

on_request = pytest.mark.skipif(not huge_pages.only_on_request(), reason='huge pages are given always here, or never')
PROGRAM = """
import os, sys
from mils_jax.distributed.huge_pages import start_with_huge_pages
start_with_huge_pages()
block = b'x' * 2**27  # of plain malloc; NumPy asks for huge pages by itself
kilobytes = size = 0
with open('/proc/self/smaps') as mappings:
  for line in mappings:
    if line.startswith('Size:'):
      size = int(line.split()[1])
    elif line.startswith('VmFlags:') and 'hg' in line.split():  # asked for; what is given depends on the free memory
      kilobytes += size
print(os.getpid(), sys.argv[1:], sys.flags.utf8_mode, kilobytes)
"""


def start(**variables: str) -> tuple[int, str]:
  """The process id at first, and what the process printed."""
  own = (huge_pages.TUNABLES, huge_pages.SWITCH)
  environment = {name: value for name, value in os.environ.items() if name not in own} | variables
  process = subprocess.Popen([sys.executable, '-X', 'utf8', '-c', PROGRAM, 'an argument', '--flag=ä'], text=True,
                             stdout=subprocess.PIPE, env=environment)
  output, _ = process.communicate()
  assert process.returncode == 0
  return process.pid, output


@on_request
def test_huge_pages_of_a_program_that_keeps_its_process_and_its_words():
  process, output = start()
  kilobytes = int(output.split()[-1])
  assert output == f"{process} ['an argument', '--flag=ä'] 1 {kilobytes}\n"
  assert kilobytes >= 128 * 1024


@on_request
@pytest.mark.parametrize('variables', [{'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=0'}, {'MILS_HUGE_PAGES': '0'}])
def test_a_given_setting_is_kept(variables):
  assert int(start(**variables)[1].split()[-1]) == 0


def test_no_new_start_where_the_system_has_no_such_setting(monkeypatch, tmp_path):
  monkeypatch.setattr(os, 'execv', lambda *_: pytest.fail('started anew'))
  monkeypatch.delenv(huge_pages.TUNABLES, raising=False)
  monkeypatch.delenv(huge_pages.SWITCH, raising=False)
  monkeypatch.setattr(huge_pages, 'SETTING', tmp_path / 'missing')
  huge_pages.start_with_huge_pages()
  huge_pages.SETTING.write_text('[always] madvise never\n')
  huge_pages.start_with_huge_pages()

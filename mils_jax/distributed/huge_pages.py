"""Memory in pages of 2 MiB instead of 4 KiB, where Linux gives them only to programs that ask.

A step takes some hundred megabytes of temporary memory from the system, and gives them back. The system clears it page
by page as it is first written: in pages of 4 KiB that takes several times as long as the writing itself.
"""

import os
import sys
from pathlib import Path

SETTING = Path('/sys/kernel/mm/transparent_hugepage/enabled')  # 'always [madvise] never': the chosen one in brackets
TUNABLES = 'GLIBC_TUNABLES'  # https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html
HUGE_PAGES = 'glibc.malloc.hugetlb=1'


def start_with_huge_pages() -> None:
  """Starts the running program anew, with the C library asking for huge pages; returns where that would change nothing.

  The library reads its settings when a program starts, so nothing later than that can change them. To be called first
  of all, before anything is read, written or loaded.
  """
  given = os.environ.get(TUNABLES, '')
  if 'glibc.malloc.hugetlb' in given or not _only_on_request():
    return
  os.environ[TUNABLES] = f'{given}:{HUGE_PAGES}'.removeprefix(':')
  os.execv(sys.executable, sys.orig_argv)


def _only_on_request() -> bool:
  try:
    return '[madvise]' in SETTING.read_text()
  except OSError:  # no Linux, or one without huge pages
    return False

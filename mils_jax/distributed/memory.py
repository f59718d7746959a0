"""How much memory is free on the devices and on the host."""

import os
import sys
from pathlib import Path

from mils_jax.distributed.devices import Devices

CGROUP = Path('/sys/fs/cgroup')


def free_bytes_per_device(devices: Devices) -> int:
  """The least of the local devices' free memory, in bytes."""
  stats = [device.memory_stats() for device in devices.local]
  if all(values and 'bytes_limit' in values for values in stats):
    return min(values['bytes_limit'] - values.get('bytes_in_use', 0) for values in stats)
  return free_host_bytes() // len(devices.local)  # devices that share the host's memory do not report any


def free_host_bytes() -> int:
  """Memory of the host that programs can still take, within the limit of a container, in bytes."""
  try:
    with open('/proc/meminfo', encoding='ascii') as lines:
      kibibytes = next(int(line.split()[1]) for line in lines if line.startswith('MemAvailable:'))
    return min(kibibytes * 1024, free_container_bytes())
  except (OSError, StopIteration):
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2


def free_container_bytes() -> int:
  """Free bytes within a container's limit (cgroup v2); without a limit, more than any machine has.

  Cached files that were not read lately count as free, as in MemAvailable.
  """
  try:
    limit, used, stat = ((CGROUP / name).read_text() for name in ('memory.max', 'memory.current', 'memory.stat'))
    return int(limit) - int(used) + int(dict(line.split() for line in stat.splitlines())['inactive_file'])
  except (OSError, ValueError, KeyError):  # no such files, or the limit 'max'
    return sys.maxsize

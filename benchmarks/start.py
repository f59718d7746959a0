"""How long a run takes from its command to the end of its first training step, cold and with warm caches.

    python -m benchmarks.start

The whole command is started on the built-in images, whose cache is built beforehand; the first step's checkpoint,
written right after it, marks its end. Cold: the compiled programs are deleted before each start.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGS = ('task_a', 'task_b', 'resnet34')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--rounds', type=int, default=3, help='starts of each kind')
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as scratch:
    for name in CONFIGS:
      command = [sys.executable, 'main.py', f'--config=configs/{name}.py', f'--config.runtime.cache={scratch}/cache',
                 '--config.checkpoint.every_steps=1']
      subprocess.run([*command, '--mode=inspect', f'--workdir={scratch}/{name}'], check=True, stdout=subprocess.DEVNULL)
      cold, warm = [], []
      for number in range(options.rounds):
        shutil.rmtree(f'{scratch}/cache/compiled', ignore_errors=True)
        cold.append(seconds_to_first_step(command, Path(scratch, f'{name}-{number}-cold')))
        warm.append(seconds_to_first_step(command, Path(scratch, f'{name}-{number}-warm')))
      print(f'{name}: first step after {statistics.median(cold):.1f} s cold ({min(cold):.1f} to {max(cold):.1f}), '
            f'{statistics.median(warm):.1f} s warm ({min(warm):.1f} to {max(warm):.1f}); at most 8 s warm expected',
            flush=True)


def seconds_to_first_step(command: list[str], folder: Path) -> float:
  started = time.perf_counter()
  process = subprocess.Popen([*command, f'--workdir={folder}'], stdout=subprocess.DEVNULL)
  while not any(path.name.isdecimal() for path in (folder / 'checkpoints' / 'latest').glob('*')):
    if process.poll() is not None:
      raise SystemExit(f'the run ended with code {process.returncode}')
    time.sleep(0.02)
  seconds = time.perf_counter() - started
  process.kill()
  process.wait()
  return seconds


if __name__ == '__main__':
  main()

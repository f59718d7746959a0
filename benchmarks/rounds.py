"""Rivals taking turns, so that a machine that slows down slows all of them: medians, and ratios turn by turn."""

import dataclasses
import json
import statistics
import subprocess
import sys

from benchmarks.baseline import Task


class BaselineError(SystemExit):
  """A baseline's process ended before its time; what it said on standard error tells why."""


class Baseline:
  """A process that runs one task when it is its turn; raises BaselineError where it cannot."""

  def __init__(self, task: Task):
    self.task = task
    self._process = subprocess.Popen(
        [sys.executable, '-m', 'benchmarks.baseline', json.dumps(dataclasses.asdict(task))], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    self.ready = self._answer()  # compile_seconds, device, and of jax the useful macs of one image
    self.turns: list[float] = []  # median seconds of a step in each turn

  def take_turn(self, seconds: float) -> None:
    self.turns.append(statistics.median(self._ask(f'run {seconds}')['seconds']))

  def peak_bytes(self) -> int:
    return self._ask('memory')['bytes']

  def close(self) -> None:
    self._process.stdin.close()
    self._process.wait()

  def _ask(self, line: str) -> dict:
    self._process.stdin.write(line + '\n')
    self._process.stdin.flush()
    return self._answer()

  def _answer(self) -> dict:
    for line in self._process.stdout:
      if line.startswith('{'):  # libraries print too
        return json.loads(line)
    raise BaselineError(f'the baseline ended with code {self._process.wait()}: {self.task}')


def ratios(theirs: Baseline, ours: Baseline) -> list[float]:
  """How many times as fast ours is, turn by turn, sorted."""
  return sorted(b / a for a, b in zip(ours.turns, theirs.turns, strict=True))

"""Baselines in alternating rounds, so that a slow phase of the machine affects all: medians, and ratios by round."""

import dataclasses
import json
import statistics
import subprocess
import sys

from benchmarks.baseline import Task


class BaselineError(SystemExit):
  """A baseline's process ended too early; its standard error has the reason."""


class Baseline:
  """A process that runs one task in rounds; raises BaselineError where it cannot."""

  def __init__(self, task: Task):
    self.task = task
    self._process = subprocess.Popen(
        [sys.executable, '-m', 'benchmarks.baseline', json.dumps(dataclasses.asdict(task))], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    self.ready = self._answer()  # compile_seconds, device, and of jax the useful macs of one image
    self.rounds: list[float] = []  # median seconds of a step in each round

  def run_round(self, seconds: float) -> None:
    self.rounds.append(statistics.median(self._ask(f'run {seconds}')['seconds']))

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
  """How many times as fast ours is, round by round, sorted."""
  return sorted(b / a for a, b in zip(ours.rounds, theirs.rounds, strict=True))

"""The order of examples: a pure function of the seed and the step, so that no state has to be saved."""

import numpy as np

from mils_jax.distributed import processes


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Number of batches that hold every example once; the last one may be padded."""
  return -(-num_examples // batch_size)


class TrainingOrder:
  """Draws a new permutation of all examples for every epoch.

  The rows of a step do not depend on earlier calls; the latest permutation is cached, so that it is not drawn again for
  every step.
  """

  def __init__(self, seed: int, num_examples: int, batch_size: int):
    self.seed, self.num_examples, self.batch_size = seed, num_examples, batch_size
    self.steps_per_epoch = steps_per_epoch(num_examples, batch_size)
    self._latest: tuple[int, np.ndarray] = (-1, np.empty(0, np.int32))

  def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (B,) int32 and mask (B,) float32 of a step; padding has mask 0."""
    epoch, position = divmod(step, self.steps_per_epoch)
    known, drawn = self._latest
    if known != epoch:
      random = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, epoch))))
      drawn = self._drawn(random).astype(np.int32)
      self._latest = (epoch, drawn)
    rows = drawn[position * self.batch_size:][:self.batch_size]
    padding = np.full(self.batch_size - len(rows), rows[0], np.int32)
    return np.concatenate([rows, padding]), (np.arange(self.batch_size) < len(rows)).astype(np.float32)

  def _drawn(self, random: np.random.Generator) -> np.ndarray:
    """Draws the rows of an epoch."""
    return random.permutation(self.num_examples)


class BalancedOrder(TrainingOrder):
  """Draws as many examples of each class; an epoch is as long as with `TrainingOrder`.

  The examples of a class are taken in random order, repeatedly where they run out, so that a small class is repeated
  evenly and each epoch sees another part of a large one. Classes without examples are left out.
  """

  def __init__(self, seed: int, labels: np.ndarray, batch_size: int):
    super().__init__(seed, len(labels), batch_size)
    self._rows = [np.flatnonzero(labels == label).astype(np.int32) for label in np.unique(labels)]

  def _drawn(self, random: np.random.Generator) -> np.ndarray:
    each = -(-self.num_examples // len(self._rows))  # per class, rounded up
    drawn = [np.concatenate([random.permutation(rows) for _ in range(-(-each // len(rows)))])[:each]
             for rows in self._rows]
    return random.permutation(np.concatenate(drawn))[:self.num_examples]


class EvaluationOrder(TrainingOrder):
  """All examples once, in stored order."""

  def __init__(self, num_examples: int, batch_size: int):
    super().__init__(0, num_examples, batch_size)

  def _drawn(self, random: np.random.Generator) -> np.ndarray:
    return np.arange(self.num_examples)


def local_share(values: np.ndarray) -> np.ndarray:
  """This process's share of a batch of all processes: the equal, contiguous part for its devices."""
  share = len(values) // processes.count()
  return values[processes.index() * share:][:share]

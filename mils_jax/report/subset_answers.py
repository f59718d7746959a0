"""What a run said of each test image with only some channels, from what subset mode or a sweep left in its folder."""

import zipfile

import numpy as np

from mils_jax.metrics.predictions import Predictions
from mils_jax.training.run_folder import RunFolder

Subset = tuple[str, ...]


def read_subset_answers(folder: RunFolder, test: Predictions) -> dict[Subset, np.ndarray]:
  """By subset, (N,) bool: where the run was right; empty where nothing was kept, is damaged, or is of other images.

  Args:
    folder: of the run.
    test: its predictions, in the order that `aligned` gives.
  """
  for path, read in ((folder.subset_answers, _of_subset_mode), (folder.subset_predictions, _of_study)):
    try:
      with np.load(path, allow_pickle=False) as saved:
        order = np.lexsort((saved['label'], saved['example_id']))
        if np.array_equal(saved['example_id'][order], test.example_ids):
          return {subset: (predicted == saved['label'])[order] for subset, predicted in read(saved)}
    except (OSError, EOFError, ValueError, KeyError, IndexError, zipfile.BadZipFile):
      continue
  return {}


def _of_subset_mode(saved: np.lib.npyio.NpzFile) -> list[tuple[Subset, np.ndarray]]:
  return [(tuple(saved['channels'][present].tolist()), predicted)
          for present, predicted in zip(saved['present'], saved['predicted'], strict=True)]


def _of_study(saved: np.lib.npyio.NpzFile) -> list[tuple[Subset, np.ndarray]]:
  return [(tuple(name.split(',')), predicted)
          for name, predicted in zip(saved['subset'].tolist(), saved['logits'].argmax(axis=2), strict=True)]

"""A finished run's predictions over subsets, kept in its folder: a finished run never changes."""

import zipfile
from collections.abc import Sequence

import numpy as np

from mils_jax.files import replaced
from mils_jax.metrics.predictions import Predictions
from mils_jax.run_config import saved_config
from mils_jax.subsets import predict_subsets
from mils_jax.training.run_folder import RunFolder


def cached_subset_predictions(folder: RunFolder, subsets: Sequence[tuple[str, ...]]
                              ) -> dict[tuple[str, ...], Predictions]:
  """What `predict_subsets` gives, computed only where the folder does not hold it yet."""
  path = folder.subset_predictions
  names = [','.join(subset) for subset in subsets]
  try:
    with np.load(path, allow_pickle=False) as saved:
      if set(names) <= set(saved['subset'].tolist()):
        rows = [saved['subset'].tolist().index(name) for name in names]
        example_ids, labels, logits = saved['example_id'], saved['label'], saved['logits']
        return {subset: Predictions(example_ids, labels, logits[row])
                for subset, row in zip(subsets, rows, strict=True)}
  except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
    pass  # not there, or not whole: computed again
  found = dict(predict_subsets(saved_config(folder), folder, subsets))
  first = next(iter(found.values()))
  with replaced(path) as unfinished, unfinished.open('wb') as file:
    np.savez(file, subset=names, example_id=first.example_ids, label=first.labels,
             logits=np.stack([found[subset].logits for subset in subsets]))
  return found

"""Loads a model as a function, from a run folder, a folder that `export --format hub` wrote, or a hub."""

import os
from pathlib import Path

from mils_jax.classifier import Classifier, load_classifier
from mils_jax.errors import UserError
from mils_jax.export.hub import restore_folder
from mils_jax.export.huggingface import fetch, is_address
from mils_jax.training.run_folder import EXPORT


def load_model(source: str | os.PathLike) -> Classifier:
  """Loads from a path, or from an address hf://USER/NAME; raises as `mils_jax.load` does."""
  folder = fetch(str(source)) if is_address(source) else Path(source)
  if (folder / EXPORT).exists():
    return Classifier(restore_folder(folder), folder)
  if is_address(source):
    raise UserError(f'{source}: no model of this program, since it has no {EXPORT}. Expected one that `push` uploaded')
  return load_classifier(folder)

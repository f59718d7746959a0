"""A trained model over pictures that nobody labelled: what it says of each, in a CSV."""

import collections
import csv
import dataclasses
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mils_jax.data.inputs import Inputs, fit, open_inputs
from mils_jax.data.sources.pictures import strict_warnings
from mils_jax.data.workers import available_cores
from mils_jax.errors import UserError
from mils_jax.files import replaced
from mils_jax.progress import bar
from mils_jax.studies.classifier import Classifier
from mils_jax.studies.restored import restore
from mils_jax.training.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Placed:
  """One picture, ready for the network or not.

  Attributes:
    identity: its path, or its place in its array.
    slots: (H, W, slots) float32.
    present: (slots,) bool.
    notes: what was done with its channels that is not plain.
    error: why it cannot be classified, '' where it can.
  """

  identity: str
  slots: np.ndarray
  present: np.ndarray
  notes: tuple[str, ...] = ()
  error: str = ''


@dataclasses.dataclass
class Summary:
  """What came out.

  Attributes:
    output: the CSV.
    classes: how many pictures of each class were predicted.
    absent: how many pictures lacked each slot.
    notes: how many pictures each note is about.
    errors: by picture, why it could not be classified.
  """

  output: Path
  classes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  absent: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  notes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  errors: dict[str, str] = dataclasses.field(default_factory=dict)

  @property
  def count(self) -> int:
    """Pictures that were classified."""
    return self.classes.total()


def run_prediction(config: ConfigDict, folder: RunFolder, path: str, channels: str, output: str,
                   all_classes: bool) -> Summary:
  """Classifies the pictures of `path` and writes a CSV with a row for each, in their order.

  Args:
    config: the run's own.
    folder: of the run.
    path: what `open_inputs` takes.
    channels: names of the pictures' channels, '-' for one to leave out; '': each picture's own.
    output: the CSV; '': a new one in the run folder, named by `path`.
    all_classes: write the probability of every class.

  Raises:
    UserError: there is no model or no picture, names do not fit, or not one picture can be classified.
  """
  if not path:
    raise UserError('--mode predict needs --input: a picture, a folder of pictures, an .npz or an .npy')
  classifier = Classifier(restore(folder, config), folder.path)
  target = Path(output) if output else _new_file(folder.path, f'predictions-{Path(os.path.abspath(path)).stem}')
  if target.suffix != '.csv' or not target.parent.is_dir():
    raise UserError(f'--output {target}: expected a file .csv in a folder that exists')
  if channels:
    classifier.absent(channels)  # refuses names that do not fit, before any picture is read
  height, width = classifier.image_size
  inputs = open_inputs(path, height if height == width else 0, config.data.channel_axis)
  summary = Summary(target)
  with replaced(target) as unfinished:
    try:
      with unfinished.open('w', newline='', encoding='utf-8') as file:
        _write_rows(csv.writer(file), classifier, inputs, channels, all_classes, summary)
      if not summary.count:
        identity, reason = next(iter(summary.errors.items()))
        raise UserError(f'none of the {len(inputs.identities)} pictures can be classified. {identity}: {reason}')
    except BaseException:
      unfinished.unlink(missing_ok=True)
      raise
  return summary


def _new_file(folder: Path, name: str) -> Path:
  """name.csv, name-2.csv, ...: the first that is not there, as pictures of two folders may share their name."""
  stems = itertools.chain([name], (f'{name}-{number}' for number in itertools.count(2)))
  return next(path for stem in stems if not (path := folder / f'{stem}.csv').exists())


def _write_rows(writer, classifier: Classifier, inputs: Inputs, channels: str, all_classes: bool,
                summary: Summary) -> None:
  shown = classifier.classes if all_classes else ()
  writer.writerow(['file', 'class', 'probability', 'absent', 'error', *(f'p({name})' for name in shown)])
  number = len(inputs.identities)
  with strict_warnings(), bar('classifying', number) as advance:  # here: threads must not change filters of warnings
    for placed, probabilities in _classified(classifier, inputs, channels):
      for picture, row in zip(placed, np.asarray(probabilities), strict=False):  # rows beyond the pictures are padding
        writer.writerow(_row(picture, row, classifier, len(shown), summary))
      advance(len(placed))


def _classified(classifier: Classifier, inputs: Inputs, channels: str) -> Iterator[tuple]:
  """Batches of pictures and their probabilities; while one is computed, the next is read."""
  number = len(inputs.identities)
  size = classifier.batch_size(number)
  before = None
  with ThreadPoolExecutor(available_cores()) as pool:
    for start in range(0, number, size):
      rows = range(start, min(start + size, number))
      placed = list(pool.map(lambda index: _place(classifier, inputs, index, channels), rows))
      probabilities = classifier.probabilities([(picture.slots, picture.present) for picture in placed], size)
      if before:
        yield before
      before = placed, probabilities
  yield before


def _place(classifier: Classifier, inputs: Inputs, index: int, channels: str) -> Placed:
  identity = inputs.identities[index]
  try:
    image, own = inputs.read(index)
    if channels:
      names, notes = channels, ()
    else:
      image, names, notes = fit(image, own, classifier.channels)
    return Placed(identity, *classifier.place(image, names), tuple(notes))
  except UserError as error:
    slots = len(classifier.channels)
    return Placed(identity, np.zeros((*classifier.image_size, slots), np.float32), np.zeros(slots, bool),
                  error=str(error).removeprefix(f'{identity}: '))


def _row(picture: Placed, probabilities: np.ndarray, classifier: Classifier, shown: int, summary: Summary) -> list:
  if picture.error:
    summary.errors[picture.identity] = picture.error
    return [picture.identity, '', '', '', picture.error, *[''] * shown]
  best = int(probabilities.argmax())
  absent = [slot for slot, there in zip(classifier.channels, picture.present, strict=True) if not there]
  summary.classes[classifier.classes[best]] += 1
  summary.absent.update(absent)
  summary.notes.update(picture.notes)
  numbers = [f'{value:.9g}' for value in (probabilities[best], *probabilities[:shown])]  # enough to read float32 back
  return [picture.identity, classifier.classes[best], numbers[0], ';'.join(absent), '', *numbers[1:]]

"""Classifies images without labels with a trained model, into a CSV file."""

import collections
import contextlib
import csv
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mils_jax import invocation
from mils_jax.classifier import Classifier, not_finite
from mils_jax.commands import Request
from mils_jax.data.cache.workers import available_cores
from mils_jax.data.inputs import Inputs, fit, open_inputs, settled_reading
from mils_jax.data.sources.images import decoders_settled
from mils_jax.errors import RunError, UserError
from mils_jax.files import replaced
from mils_jax.progress import bar, counted, log_lines
from mils_jax.report.text import grouped
from mils_jax.restore import restore
from mils_jax.run_config import RunConfig
from mils_jax.training.run_folder import RunFolder

CLASSES_SHOWN = 5
ERRORS_SHOWN = 10
ENOUGH = 16  # images needed to judge the units of their values


@dataclasses.dataclass(frozen=True)
class Placed:
  """One image, prepared for the network, or the reason why it cannot be classified.

  Attributes:
    example_id: its path, or its index in its array.
    inputs: (H, W, inputs) float32.
    present: (inputs,) bool.
    notes: notes on the conversion of its channels.
    error: why it cannot be classified, '' where it can.
  """

  example_id: str
  inputs: np.ndarray
  present: np.ndarray
  notes: tuple[str, ...] = ()
  error: str = ''


@dataclasses.dataclass
class Summary:
  """The results of a prediction.

  Attributes:
    output: path of the CSV file.
    classes: number of images predicted as each class.
    missing: number of images that lacked each channel.
    notes: number of images that each note is about.
    errors: by image, why it could not be classified.
    remarks: notes on the input as a whole.
    moments: (3, inputs) number of values of each channel, their sum and the sum of their squares.
  """

  output: Path
  classes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  missing: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  notes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  errors: dict[str, str] = dataclasses.field(default_factory=dict)
  remarks: tuple[str, ...] = ()
  moments: np.ndarray | float = 0.0

  @property
  def count(self) -> int:
    """Number of classified images."""
    return self.classes.total()


def run_prediction(config: RunConfig, folder: RunFolder, paths: Sequence[str], channels: str, output: str,
                   all_classes: bool) -> Summary:
  """Classifies the images of `paths` and writes a CSV file with a row for each, in their order.

  Args:
    config: the run's own configuration.
    folder: the run folder.
    paths: paths that `open_inputs` takes.
    channels: names of the images' channels, '-' for one to leave out; '': each image's own.
    output: the CSV file; '': a new one in the run folder, named after the first path.
    all_classes: write the probability of every class.

  Raises:
    UserError: there is no model or no image, names do not fit, or no image can be classified.
  """
  if not paths:
    raise UserError(f'{invocation.mode("predict")} needs --input: images, a folder of images, an .npz or an .npy')
  classifier = Classifier(restore(folder, config), folder.path)
  if output and (Path(output).suffix != '.csv' or not Path(output).parent.is_dir()):
    raise UserError(f'--output {output}: expected a file .csv in a folder that exists')
  if channels:
    classifier.missing(channels)  # raises for names that do not fit, before any image is read
  height, width = classifier.image_size
  reading = dataclasses.replace(config.data.reading, size=height if height == width else 0)
  inputs = open_inputs(paths, settled_reading(reading, classifier.data_channels), classifier.model_channels,
                       config.data.folder.band_files)
  name = f'predictions-{Path(os.path.abspath(paths[0])).stem}'
  with (contextlib.nullcontext(Path(output)) if output else _new_file(folder.path, name) as target,
        replaced(target) as unfinished):
    summary = Summary(target, remarks=inputs.notes)
    # Names of files need not be UTF-8: their bytes are written as they are.
    with unfinished.open('w', newline='', encoding='utf-8', errors='surrogateescape') as file:
      _write_rows(csv.writer(file), classifier, inputs, channels, all_classes, summary)
    if config.data.normalization == 'data' and (odd := _unlike_training(classifier, summary)):
      summary.remarks += (odd,)
    if not summary.count:
      example_id, reason = next(iter(summary.errors.items()))
      number = len(inputs.example_ids)
      what = 'the image cannot' if number == 1 else f'none of the {number} images can'
      raise UserError(f'{what} be classified. {example_id}: {reason}')
  return summary


def _unlike_training(classifier: Classifier, summary: Summary) -> str:
  """Describes suspicious values of all images together; with few images, which may be alike, it returns ''."""
  if summary.count < ENOUGH:
    return ''
  with np.errstate(invalid='ignore'):  # for a channel that no image has
    count, total, squares = np.asarray(summary.moments)
    mean = total / count
    return classifier.spec.unlike(mean, np.sqrt(np.maximum(squares / count - mean**2, 0)))


@contextlib.contextmanager
def _new_file(folder: Path, name: str) -> Iterator[Path]:
  """The first unused path of name.csv, name-2.csv, ..., as images of two folders may share their name.

  It is created at once, so that no other process takes it, and deleted again on an error.
  """
  stems = itertools.chain([name], (f'{name}-{number}' for number in itertools.count(2)))
  path = next(path for stem in stems if _created(path := folder / f'{stem}.csv'))
  try:
    yield path
  except BaseException:
    path.unlink()
    raise


def _created(path: Path) -> bool:
  try:
    path.touch(exist_ok=False)
  except FileExistsError:
    return False
  return True


def _write_rows(writer, classifier: Classifier, inputs: Inputs, channels: str, all_classes: bool,
                summary: Summary) -> None:
  shown = classifier.classes if all_classes else ()
  writer.writerow(['file', 'class', 'probability', 'missing', 'error', *(f'p({name})' for name in shown)])
  number = len(inputs.example_ids)
  with decoders_settled(), bar('classifying', number) as advance:  # here, as threads must not change warning filters
    for placed, probabilities in _classified(classifier, inputs, channels):
      for image, row in zip(placed, np.asarray(probabilities), strict=False):  # rows beyond the images are padding
        writer.writerow(_row(image, row, classifier, len(shown), summary))
      advance(len(placed))


def _classified(classifier: Classifier, inputs: Inputs, channels: str) -> Iterator[tuple]:
  """Batches of images and their probabilities; while one is computed, the next is read."""
  number = len(inputs.example_ids)
  size = classifier.batch_size(number)
  before = None
  with ThreadPoolExecutor(available_cores()) as pool:
    for start in range(0, number, size):
      rows = range(start, min(start + size, number))
      placed = list(pool.map(lambda index: _place(classifier, inputs, index, channels), rows))
      probabilities = classifier.probabilities([(image.inputs, image.present) for image in placed], size)
      if before:
        yield before
      before = placed, probabilities
  assert before is not None  # there is at least one image
  yield before


def _place(classifier: Classifier, inputs: Inputs, index: int, channels: str) -> Placed:
  example_id = inputs.example_ids[index]
  try:
    decoded, listing = inputs.read(index)
    image, names, notes = decoded.pixels, channels, list(decoded.notes)
    if not channels:
      image, names, notes = fit(decoded, listing, classifier.model_channels)
    placed, present = classifier.place(image, names)
    height, width = classifier.image_size
    if classifier.native and sorted(decoded.size or image.shape[:2]) != sorted((height, width)):
      notes.append(f'not {height} x {width} pixels as the training images: the central square was resized')
    if isinstance(image, np.ma.MaskedArray) and _partly_masked(image):
      notes.append("values without data were filled with their channel's mean over the training data")
    unusual = classifier.spec.unusual(placed, present)
    return Placed(example_id, placed, present, (*notes, *([unusual] if unusual else [])))
  except UserError as error:
    count = len(classifier.channels)
    return Placed(example_id, np.zeros((*classifier.image_size, count), np.float32), np.zeros(count, bool),
                  error=str(error).removeprefix(f'{example_id}: '))


def _partly_masked(image: np.ma.MaskedArray) -> bool:
  """Whether a channel has some values and lacks others: one without any is missing, and nothing is filled."""
  mask = np.ma.getmaskarray(image).reshape(-1, image.shape[-1])
  return bool((mask.any(0) & ~mask.all(0)).any())


def _row(image: Placed, probabilities: np.ndarray, classifier: Classifier, shown: int, summary: Summary) -> list:
  error = image.error or ('' if np.isfinite(probabilities).all() else not_finite(image.inputs))
  if error:
    summary.errors[image.example_id] = error
    return [image.example_id, '', '', '', error, *[''] * shown]
  best = int(probabilities.argmax())
  missing = [channel for channel, there in zip(classifier.channels, image.present, strict=True) if not there]
  summary.classes[classifier.classes[best]] += 1
  summary.missing.update(missing)
  summary.notes.update(image.notes)
  values = image.inputs
  there = image.present * values[..., 0].size
  squares = np.einsum('hwc,hwc->c', values, values, dtype=np.float64)
  summary.moments += np.stack([there, values.sum((0, 1), dtype=np.float64), squares])
  numbers = [f'{value:.9g}' for value in (probabilities[best], *probabilities[:shown])]  # enough to read float32 back
  return [image.example_id, classifier.classes[best], numbers[0], ';'.join(missing), '', *numbers[1:]]


def run(request: Request) -> None:
  """Classifies the images, or a whole scene, and prints what came out."""
  given = request.flags
  if given['tile']:
    from mils_jax.commands import predict_scene  # here, since few calls need it

    return predict_scene.run(request)
  if given['stride']:
    raise UserError('--stride goes with --tile, which classifies a whole scene')
  summary = run_prediction(request.config, request.folder, given['input'], given['channels'], given['output'],
                           given['all_classes'])
  log_lines(prediction_lines(summary))
  if summary.errors:
    number = len(summary.errors)
    where = f'its row in {summary.output} gives' if number == 1 else f'their rows in {summary.output} give'
    raise RunError(f'{counted(number, "image")} could not be classified; {where} the reason')


def prediction_lines(summary: Summary) -> list[str]:
  """The number of images, the most frequent classes, the missing channels, and the path of the CSV file."""
  count = summary.count
  images = counted(count, 'image')
  most = ', '.join(f'{name} {number} ({number / count:.1%})'
                   for name, number in summary.classes.most_common(CLASSES_SHOWN))
  missing = ', '.join(f'{channel} ({number} of {images})' for channel, number in summary.missing.items())
  errors = [f'not classified: {example_id}: {reason}' for example_id, reason in summary.errors.items()]
  more = len(errors) - ERRORS_SHOWN
  return [
      *errors[:ERRORS_SHOWN],
      *([f'and {more} more'] if more > 0 else []),
      *summary.remarks,
      *(f'{note} ({number} of {images})' for note, number in summary.notes.items()),
      f'{grouped(count)} image{"" if count == 1 else "s"} classified; of '
      f'{counted(len(summary.classes), "class", "classes")}, most often {most}',
      f'channels missing: {missing or "none"}',
      f'saved as {summary.output}',
  ]

"""ONNX by jax2onnx, read back by ONNX Runtime."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from mils_jax import invocation
from mils_jax.errors import RunError, one_line
from mils_jax.export.function import ExportedModel, Logits
from mils_jax.packages import require

FILE = 'model.onnx'
PACKAGES = ('onnx', 'jax2onnx', 'onnxruntime')
JAX2ONNX = 'jax2onnx>=0.17,<0.18'  # gives correct results for these exports


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Silences jax2onnx's messages about optional packages and about shapes that it drops."""
  before = logging.root.manager.disable
  logging.disable(logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      yield
  finally:
    logging.disable(before)


with _quiet():
  _HOW = f"{invocation.install('onnx')} && pip install --no-deps '{JAX2ONNX}'"
  jax2onnx, onnxruntime = (require(name, '--format onnx', _HOW) for name in ('jax2onnx', 'onnxruntime'))


def write(model: ExportedModel, folder: Path) -> Logits:
  """Writes the function with its weights; what is compared is computed by ONNX Runtime from the file."""
  with _quiet(), _in_one_line('converting'):
    inputs = [jax.ShapeDtypeStruct(('batch', *model.image_shape), np.float32),
              jax.ShapeDtypeStruct(('batch', model.image_shape[-1]), np.bool_)]
    graph = jax2onnx.to_onnx(model.function(), inputs, model_name=model.restored.config.name,
                             input_names=['images', 'present'], output_names=['logits'])
  (folder / FILE).write_bytes(graph.SerializeToString())  # one file, up to 2 GB
  with _in_one_line('ONNX Runtime'):
    session = onnxruntime.InferenceSession(folder / FILE, providers=['CPUExecutionProvider'])
  return lambda images, present: np.asarray(session.run(['logits'], {'images': images, 'present': present})[0])


@contextlib.contextmanager
def _in_one_line(what: str) -> Iterator[None]:
  """Turns any error of the libraries into a RunError of one line."""
  try:
    yield
  except Exception as error:
    raise RunError(f'--format onnx: {what} failed: {one_line(error, 300)}. Nothing was kept') from error

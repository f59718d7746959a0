"""StableHLO from jax.export: one file that JAX alone loads and runs, on any platform and for any batch size."""

from pathlib import Path

import jax
import numpy as np
from jax import export

from mils_jax.export.function import PRECISION, ExportedModel, Logits

FILE = 'model.stablehlo'
PACKAGES = ()
PLATFORMS = ('cpu', 'cuda', 'tpu')


def write(model: ExportedModel, folder: Path) -> Logits:
  """Writes the function with its weights; returns the function read back from the file."""
  (batch,) = export.symbolic_shape('batch')
  images = jax.ShapeDtypeStruct((batch, *model.image_shape), np.float32)
  present = jax.ShapeDtypeStruct((batch, model.image_shape[-1]), np.bool_)
  with jax.default_matmul_precision(PRECISION):
    exported = export.export(jax.jit(model.function()), platforms=PLATFORMS)(images, present)
  (folder / FILE).write_bytes(exported.serialize())
  read = jax.jit(export.deserialize(bytearray((folder / FILE).read_bytes())).call)
  return lambda images, present: np.asarray(read(images, present))

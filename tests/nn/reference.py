"""The layers once more in float64 NumPy, written from their definitions: one output value at a time."""

import numpy as np


def convolution(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
  """(B, H, W, C) with (k, k, C, F), zero padding k // 2."""
  size = kernel.shape[0]
  padding = size // 2
  padded = np.pad(x.astype(np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  rows = range(0, padded.shape[1] - size + 1, stride)
  columns = range(0, padded.shape[2] - size + 1, stride)
  out = np.zeros((len(x), len(rows), len(columns), kernel.shape[-1]))
  for i, row in enumerate(rows):
    for j, column in enumerate(columns):
      window = padded[:, row : row + size, column : column + size]
      out[:, i, j] = np.tensordot(window, kernel.astype(np.float64), axes=3)
  return out


def attention(x: np.ndarray, squeeze: np.ndarray, expand: np.ndarray, temperature: float) -> np.ndarray:
  """Softmax weights (B, K) from the global average."""
  hidden = np.maximum(x.astype(np.float64).mean(axis=(1, 2)) @ squeeze, 0)
  logits = np.exp(hidden @ expand / temperature)
  return logits / logits.sum(axis=1, keepdims=True)


def dynamic_convolution(x: np.ndarray, params: dict, stride: int, temperature: float) -> np.ndarray:
  """Every kernel's own convolution, then the weighted sum (the report's definition)."""
  kernels = np.asarray(params['kernels'], np.float64)
  missing = kernels.shape[3] - x.shape[-1]
  x = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, missing)))
  squeeze, expand = (np.asarray(params['attention'][name]['kernel'], np.float64) for name in ('squeeze', 'expand'))
  weights = attention(x, squeeze, expand, temperature)
  return sum(weights[:, k, None, None, None] * convolution(x, kernels[k], stride) for k in range(len(kernels)))

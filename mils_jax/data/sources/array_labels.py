"""Labels from arrays of various shapes: (N,), (N, 1) or one-hot rows, of numbers or text."""

import numpy as np

from mils_jax.errors import UserError, unknown


def plain_labels(labels: np.ndarray, where: str) -> tuple[np.ndarray, str]:
  """Labels as (N,) whole numbers or text, and a note on the conversion ('' where nothing relevant was converted).

  Args:
    labels: (N,), (N, 1) or, one-hot, (N, classes).
    where: the array's name, for messages.

  Raises:
    UserError: the labels have another shape or kind, or are multi-label: rows have several ones.
  """
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  if labels.dtype.kind == 'U' and labels.ndim == 1:
    labels = np.char.strip(labels)
    if (labels == '').any():
      raise UserError(f"{where}[{int((labels == '').argmax())}]: an empty label; expected the class of each image")
    return labels, ''
  if labels.dtype.kind not in 'buif' or labels.ndim not in (1, 2):
    raise UserError(f'{where} has shape {labels.shape} and type {labels.dtype}; expected (N,) whole numbers or text, '
                    'or one-hot rows')
  if labels.ndim == 2:
    return _from_rows(labels, where), f'{where}: one-hot rows were read as the classes of their ones'
  if labels.dtype.kind == 'f':
    wrong = np.flatnonzero(~(np.isfinite(labels) & (labels == np.rint(labels)) & (np.abs(labels) < 2**31)))
    if len(wrong):
      raise UserError(f'{where}[{wrong[0]}] is {labels[wrong[0]]} ({labels.dtype}); expected whole numbers')
    return labels.astype(np.int64), f'{where}: whole numbers of the type {labels.dtype} were read as labels'
  return labels.astype(np.int64) if labels.dtype.kind == 'b' else labels, ''


def by_name(labels: np.ndarray, classes: tuple[str, ...], where: str) -> np.ndarray:
  """(N,) int32: indices of text labels (N,) among the classes; raises UserError for an unknown one."""
  numbers = {name: number for number, name in enumerate(classes)}
  for row, label in enumerate(labels.tolist()):
    if label not in numbers:
      raise UserError(f'{where}[{row}]: {unknown("class", label, classes)}')
  return np.array([numbers[label] for label in labels.tolist()], np.int32)


def _from_rows(rows: np.ndarray, where: str) -> np.ndarray:
  ones = (rows != 0).sum(axis=1)
  if not np.isin(rows, (0, 1)).all():
    raise UserError(f'{where} has shape {rows.shape}; expected (N,) labels, or one-hot rows of 0 and 1')
  several, none = np.flatnonzero(ones > 1), np.flatnonzero(ones == 0)
  if len(several):
    raise UserError(f'{where}: {len(several)} rows have several ones, the first {where}[{several[0]}]: labels of '
                    'several classes at once (multi-label) are not supported; expected one class for each image')
  if len(none):
    raise UserError(f'{where}[{none[0]}]: a row without a one; expected one class for each image')
  return rows.argmax(axis=1)

"""Arranges an image's channels in the order of its dataset's channels; the others are masked."""

import numpy as np

from mils_jax.data.sources.names import FILLED, Listing, assign
from mils_jax.data.sources.pixels import Decoded
from mils_jax.data.sources.source import Statement
from mils_jax.errors import UserError


def placed(decoded: Decoded, known: tuple[str, ...], listing: Listing | None, flagged: bool, named: bool,
           where: str, first: Statement | None = None) -> tuple[np.ndarray, str]:
  """An image with all channels of its dataset, in their order.

  Args:
    decoded: the image, with whatever channels it has.
    known: names of the dataset's channels.
    listing: the nearest channels.txt, None without one.
    flagged: whether the configuration gave `known`.
    named: whether `known` are real names: only then an image may have fewer channels without names.
    where: location of the image, for messages.
    first: names of channels in the first training file; None: they do not count.

  Returns:
    (H, W, C), masked in the channels that the image does not have, and a note on what was assumed.

  Raises:
    UserError: one of its channels is not in the dataset.
  """
  count = decoded.pixels.shape[-1]
  try:
    own, note = assign(count, known, listing.names if listing else (), decoded.names, decoded.color, flagged,
                       None if flagged else first)
  except UserError as error:
    raise UserError(f'{where}: {error}') from error
  if own == known:
    return decoded.pixels, note
  if note.startswith(FILLED) and not named:
    raise UserError(f'{where}: {count} channels, but the first training image has {len(known)}; expected the same in '
                    'every image, or names of all there are in channels.txt or data.channel_names')
  unknown = [name for name in own if name not in known]
  if unknown:
    raise UserError(f"{where}: its channels are {', '.join(own)}, and {unknown[0]} is none of the set's: "
                    f"{', '.join(known)} (data.channel_names names them all)")
  places = [known.index(name) for name in own]
  values = np.zeros((*decoded.pixels.shape[:2], len(known)), decoded.pixels.dtype)
  masked = np.ones(values.shape, bool)
  values[..., places] = np.ma.getdata(decoded.pixels)
  masked[..., places] = np.ma.getmaskarray(decoded.pixels)
  return np.ma.masked_array(values, masked), note

"""Augmentation on the device, from the stored dtype: pure functions of keys and images.

Every image has its own key, derived from the step's key and the image's global index in the batch of all devices, so
the result does not depend on the number of devices. Here N is the number of images that one device holds.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.image import scale_and_translate

from mils_jax.config import Section, option
from mils_jax.data.mixing import cutmix, mixup
from mils_jax.errors import UserError
from mils_jax.random_streams import sample_keys


def random_crop(keys: jax.Array, images: jax.Array, padding: int) -> jax.Array:
  """Shifts each image by up to `padding` pixels along both axes; pixels from outside are 0, in raw values.

  Args:
    keys: (N,) one per image.
    images: (N, H, W, C).
    padding: in pixels.

  Returns:
    (N, H, W, C) of the same dtype.
  """
  _, height, width, channels = images.shape
  corners = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * padding + 1))(keys)  # (N, 2)
  padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

  def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

  return jax.vmap(cut)(padded, corners)


def random_flip(keys: jax.Array, images: jax.Array) -> jax.Array:
  """Mirrors each image (N, H, W, C) left to right with probability 1/2."""
  return jnp.where(_coins(keys), images[:, :, ::-1], images)


def random_vertical_flip(keys: jax.Array, images: jax.Array) -> jax.Array:
  """Mirrors each image (N, H, W, C) top to bottom with probability 1/2; for images seen from above."""
  return jnp.where(_coins(keys), images[:, ::-1], images)


def check_square(height: int, width: int) -> None:
  """Raises UserError for images that cannot be rotated by 90 degrees."""
  if height != width:
    raise UserError(f'augment.rot90: images are {height} x {width}; expected squares')


def random_rot90(keys: jax.Array, images: jax.Array) -> jax.Array:
  """Rotates each square image (N, S, S, C) by 0, 90, 180 or 270 degrees.

  Raises:
    UserError: the images are not square.
  """
  check_square(*images.shape[1:3])
  turns = jax.vmap(lambda key: jax.random.randint(key, (), 0, 4))(keys)[:, None, None, None]
  quarter = jnp.where(turns % 2 == 1, jnp.rot90(images, axes=(1, 2)), images)
  return jnp.where(turns >= 2, quarter[:, ::-1, ::-1], quarter)


def random_resized_crop(keys: jax.Array, images: jax.Array, min_area: float) -> jax.Array:
  """Resizes a random crop of each image to the full size.

  "Going deeper with convolutions" (Szegedy et al., CVPR 2015, https://arxiv.org/abs/1409.4842).

  The crop has `min_area` to 1 of the area, and an aspect ratio of 3/4 to 4/3 times the image's own, as far as it fits.

  Args:
    keys: (N,) one per image.
    images: (N, H, W, C).
    min_area: smallest share of the area, above 0.

  Returns:
    (N, H, W, C) float32, interpolated linearly.
  """
  _, height, width, channels = images.shape

  def cut(key: jax.Array, image: jax.Array) -> jax.Array:
    area_key, ratio_key, corner_key = jax.random.split(key, 3)
    area = jax.random.uniform(area_key, (), minval=min_area, maxval=1.0)
    # Cutting off what does not fit leaves 3/4 of the area or more; where that is too little, less is stretched.
    longest = math.log(4 / 3) / 2 if min_area <= 3 / 4 else jnp.minimum(math.log(4 / 3), -jnp.log(area)) / 2
    stretch = jnp.exp(jax.random.uniform(ratio_key, (), minval=-1.0, maxval=1.0) * longest)
    share = jnp.minimum(jnp.sqrt(area) * jnp.stack([stretch, 1 / stretch]), 1.0)  # (2,) shares of height and width
    size = jnp.array([height, width], jnp.float32)
    corner = jax.random.uniform(corner_key, (2,)) * (1 - share) * size
    return scale_and_translate(image.astype(jnp.float32), (height, width, channels), (0, 1), 1 / share,
                               -corner / share, method='linear', antialias=False)

  return jax.vmap(cut)(keys, images)


def jitter(keys: jax.Array, images: jax.Array, brightness: float, contrast: float) -> jax.Array:
  """Changes brightness and contrast of each channel of each image independently.

  Contrast scales a channel's values about their mean by a factor in 1 - contrast..1 + contrast; brightness then
  multiplies them by a factor in 1 - brightness..1 + brightness.

  Args:
    keys: (N,) one per image.
    images: (N, H, W, C).
    brightness, contrast: largest relative changes, in 0..1.

  Returns:
    (N, H, W, C) float32.
  """
  channels = images.shape[-1]
  draws = jax.vmap(lambda key: jax.random.uniform(key, (2, channels), minval=-1.0, maxval=1.0))(keys)  # (N, 2, C)
  factors = 1 + draws * jnp.array([[[contrast], [brightness]]])
  stretch, gain = factors[:, 0, None, None], factors[:, 1, None, None]  # (N, 1, 1, C) each
  values = images.astype(jnp.float32)
  mean = values.mean((1, 2), keepdims=True)
  return ((values - mean) * stretch + mean) * gain


@dataclasses.dataclass(frozen=True)
class Augmentation(Section, section='augment'):
  """The augmentation of training images; none by default."""

  crop_padding: int = option(0, 'largest random shift along each axis, in pixels; padded with 0', low=0)
  horizontal_flip: bool = option(False, 'mirror left to right with probability 1/2')
  vertical_flip: bool = option(False, 'mirror top to bottom with probability 1/2; for images seen from above')
  rot90: bool = option(False, 'rotate by a random multiple of 90 degrees; for square images seen from above')
  resized_crop_min_area: float = option(0.0, 'smallest fraction of the area kept by random resized crops; 0: no crops',
                                        low=0, high=1)
  brightness: float = option(0.0, 'largest relative change of brightness, per channel', low=0, high=1)
  contrast: float = option(0.0, 'largest relative change of contrast, per channel', low=0, high=1)
  mixup_alpha: float = option(0.0, 'alpha of the Beta distribution of MixUp; 0: off', low=0)
  cutmix_alpha: float = option(0.0, 'alpha of the Beta distribution of CutMix; 0: off; with MixUp, each image gets one '
                               'of the two', low=0)

  @property
  def mixes(self) -> bool:
    """Whether images are mixed in pairs."""
    return self.mixup_alpha > 0 or self.cutmix_alpha > 0

  def __call__(self, key: jax.Array, images: jax.Array, labels: jax.Array, mask: jax.Array,
               positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Augments the images that one device holds.

    Args:
      key: random key of the step.
      images: (N, H, W, C) in the stored dtype.
      labels: (N, classes) float32, each row summing to 1.
      mask: (N,), 0 for padding.
      positions: (N,) consecutive global indices of these images in the batch of all devices.

    Returns:
      Images (N, H, W, C), of the stored dtype where nothing had to be interpolated, and labels (N, classes).
    """

    def keys(stream: int) -> jax.Array:
      return sample_keys(jax.random.fold_in(key, stream), positions)

    if self.resized_crop_min_area:
      images = random_resized_crop(keys(0), images, self.resized_crop_min_area)
    if self.crop_padding:
      images = random_crop(keys(1), images, self.crop_padding)
    if self.horizontal_flip:
      images = random_flip(keys(2), images)
    if self.vertical_flip:
      images = random_vertical_flip(keys(3), images)
    if self.rot90:
      images = random_rot90(keys(4), images)
    if self.brightness or self.contrast:
      images = jitter(keys(5), images, self.brightness, self.contrast)
    return self._mix(keys(6), images, labels, mask, positions)

  def _mix(self, keys: jax.Array, images: jax.Array, labels: jax.Array, mask: jax.Array,
           positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    choice, chosen = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)  # (N,) each
    batch = (chosen, images, labels, mask, positions)
    if not self.cutmix_alpha:
      return mixup(*batch, self.mixup_alpha) if self.mixup_alpha else (images, labels)
    if not self.mixup_alpha:
      return cutmix(*batch, self.cutmix_alpha)
    cut, blended = cutmix(*batch, self.cutmix_alpha), mixup(*batch, self.mixup_alpha)
    coins = _coins(choice)  # (N, 1, 1, 1)
    return jnp.where(coins, cut[0], blended[0]), jnp.where(coins[:, :, 0, 0], cut[1], blended[1])


def _coins(keys: jax.Array) -> jax.Array:
  """Tosses fair coins: (N, 1, 1, 1) bool."""
  return jax.vmap(jax.random.bernoulli)(keys)[:, None, None, None]

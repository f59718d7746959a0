"""MixUp and CutMix: images mixed with their neighbours in the batch, and labels with them.

Randomness is per image, as in augment.py; N is the number of images that one device holds.
"""

import jax
import jax.numpy as jnp


def partners(mask: jax.Array, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The partner that each image is mixed with: its neighbour, 2i with 2i + 1 by global index in the batch.

  Pairs never cross devices as long as each holds an even number of images. An image has no partner where its neighbour
  is on another device, or where it or its neighbour is padding (mask 0). As the order is a new permutation every
  epoch, neighbours are random.

  Args:
    mask: (N,).
    positions: (N,) consecutive.

  Returns:
    (N,) index of the partner among these N, and (N,) bool, whether there is one.
  """
  count = len(positions)
  index = jnp.arange(count) + jnp.where(positions % 2 == 0, 1, -1)
  inside = (index >= 0) & (index < count)
  index = jnp.clip(index, 0, count - 1)
  return index, inside & (mask > 0) & (mask[index] > 0)


def mixup(keys: jax.Array, images: jax.Array, labels: jax.Array, mask: jax.Array, positions: jax.Array,
          alpha: float) -> tuple[jax.Array, jax.Array]:
  """Blends each image, and its label, with its partner's.

  "mixup: Beyond Empirical Risk Minimization" (Zhang et al., ICLR 2018, https://arxiv.org/abs/1710.09412).

  Args:
    keys: (N,) one per image.
    images: (N, H, W, C).
    labels: (N, classes) float32.
    mask: (N,); see `partners`.
    positions: (N,); see `partners`.
    alpha: the image's own share is drawn from Beta(alpha, alpha).

  Returns:
    Images (N, H, W, C) float32 and labels (N, classes).
  """
  partner, paired = partners(mask, positions)
  share = jnp.where(paired, _beta(keys, alpha), 1.0)
  values = images.astype(jnp.float32)
  mixed = _blend(share[:, None, None, None], values, values[partner])
  return mixed, _blend(share[:, None], labels, labels[partner])


def cutmix(keys: jax.Array, images: jax.Array, labels: jax.Array, mask: jax.Array, positions: jax.Array,
           alpha: float) -> tuple[jax.Array, jax.Array]:
  """Pastes a box of its partner into each image and mixes labels by area.

  "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (Yun et al., ICCV 2019,
  https://arxiv.org/abs/1905.04899).

  The box covers a share 1 - Beta(alpha, alpha) of the image around a random centre; it is clipped at the border, and
  the label counts the clipped area. The arguments are those of `mixup`.

  Returns:
    Images (N, H, W, C) of the same dtype and labels (N, classes).
  """
  _, height, width, _ = images.shape
  partner, paired = partners(mask, positions)
  split = jax.vmap(jax.random.split)(keys)  # (N, 2)
  side = jnp.sqrt(1 - _beta(split[:, 0], alpha))  # (N,)
  centre = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(split[:, 1])  # (N, 2)

  def inside(length: int, axis: int) -> jax.Array:
    low = jnp.round((centre[:, axis] - side / 2) * length)[:, None]  # (N, 1)
    high = jnp.round((centre[:, axis] + side / 2) * length)[:, None]
    pixels = jnp.arange(length)[None]
    return (pixels >= low) & (pixels < high)  # (N, length)

  box = inside(height, 0)[:, :, None] & inside(width, 1)[:, None] & paired[:, None, None]  # (N, H, W)
  share = 1 - box.mean((1, 2))
  return jnp.where(box[..., None], images[partner], images), _blend(share[:, None], labels, labels[partner])


def _beta(keys: jax.Array, alpha: float) -> jax.Array:
  """(N,) draws from Beta(alpha, alpha)."""
  return jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys)


def _blend(share: jax.Array, own: jax.Array, other: jax.Array) -> jax.Array:
  return share * own + (1 - share) * other

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mils_jax.nn import DropBlock


def dropped(layer, shape):
  out = layer.apply({}, jnp.ones(shape), train=True, rngs={'dropout': jax.random.key(0)})
  np.testing.assert_allclose(out.mean(), 1.0, rtol=1e-5)
  return np.asarray(out == 0)


def test_whole_squares_are_cleared_and_the_mean_is_kept_in_training_only():
  layer, shape = DropBlock(rate=0.3, block_size=3), (4, 12, 12, 16)
  zero = dropped(layer, shape)
  covered = np.zeros_like(zero)  # every cleared position lies in a cleared 3 x 3 square
  for row in range(10):
    for column in range(10):
      block = zero[:, row : row + 3, column : column + 3]
      covered[:, row : row + 3, column : column + 3] |= block.all(axis=(1, 2))[:, None, None, :]
  np.testing.assert_array_equal(zero, covered)
  x = jax.random.normal(jax.random.key(1), shape)
  np.testing.assert_array_equal(layer.apply({}, x, train=False), x)


@pytest.mark.parametrize(('block_size', 'side', 'rate'), [(1, 16, 0.3), (3, 12, 0.3), (None, 20, 0.1), (7, 5, 0.2)])
def test_squares_times_their_area_are_the_rate_of_the_map(block_size, side, rate):
  """Some overlap: a position is cleared unless none of the squares that reach it is drawn. The default side is 5."""
  layer = DropBlock(rate) if block_size is None else DropBlock(rate, block_size)
  block = min(block_size or 5, side)
  corners = np.ones((side - block + 1,) * 2)
  reaching = np.zeros((side, side))  # squares that reach a position
  for row in range(block):
    for column in range(block):
      reaching[row : row + len(corners), column : column + len(corners)] += corners
  drawn = rate * side**2 / (block**2 * corners.size)
  expected = (1 - (1 - drawn) ** reaching).mean()
  assert expected == pytest.approx(rate, rel=0.25)
  assert dropped(layer, (64, side, side, 128)).mean() == pytest.approx(expected, rel=0.05)


def test_a_square_without_size_is_refused():
  with pytest.raises(ValueError, match='block_size=0'):
    DropBlock(0.1, 0).apply({}, jnp.ones((1, 4, 4, 1)), train=True)

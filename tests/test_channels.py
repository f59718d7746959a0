import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mils_jax.channels import ChannelSpec, choose, split_names
from mils_jax.errors import UserError

SPEC = ChannelSpec(('R', 'G', 'B'), ('', '', ''), (1.0, 2.0, 3.0), (2.0, 4.0, 8.0))


def test_a_channel_goes_to_the_input_channel_of_its_name_wherever_it_stands():
  images = np.arange(2 * 2 * 2 * 2, dtype=np.uint8).reshape(2, 2, 2, 2)
  placed, present = SPEC.map_from(['B', 'R']).apply(jnp.asarray(images))
  np.testing.assert_allclose(placed[..., 0], (images[..., 1] - 1.0) / 2)
  np.testing.assert_allclose(placed[..., 2], (images[..., 0] - 3.0) / 8)
  np.testing.assert_array_equal(placed[..., 1], 0)
  np.testing.assert_array_equal(present, [[True, False, True]] * 2)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(['R', 'G', 'B', None]))
def test_the_order_of_named_channels_changes_nothing(order):
  rng = np.random.default_rng(0)
  values = {name: rng.normal(size=(2, 3, 3)).astype(np.float32) for name in ('R', 'G', 'B', None)}
  images = jnp.stack([values[name] for name in order], axis=-1)
  placed, present = SPEC.map_from(order).apply(images)
  expected, _ = SPEC.map_from(['R', 'G', 'B']).apply(jnp.stack([values[name] for name in 'RGB'], axis=-1))
  np.testing.assert_array_equal(placed, expected)
  assert present.all()


def test_a_missing_channel_is_zero_even_where_the_data_is_non_finite():
  images = jnp.full((1, 2, 2, 3), jnp.nan).at[..., 1].set(6.0)
  placed, _ = SPEC.map_from([None, 'G', None]).apply(images)
  np.testing.assert_array_equal(placed, jnp.zeros((1, 2, 2, 3)).at[..., 1].set(1.0))


@pytest.mark.parametrize(('names', 'message'), [
    (['R', 'X'], "unknown channel 'X'. Valid: R, G, B"),
    (['R', 'R'], "channel 'R' is given twice"),
])
def test_wrong_names_are_refused_with_the_valid_ones(names, message):
  with pytest.raises(UserError, match=message):
    SPEC.map_from(names)


@pytest.mark.parametrize(('text', 'available', 'expected'), [
    ('', ('R', 'G', 'B'), ('R', 'G', 'B')),
    ('RG', ('R', 'G', 'B'), ('R', 'G')),
    ('B,R', ('R', 'G', 'B'), ('B', 'R')),
    ('red', ('red', 'nir'), ('red',)),
    ('nir, red', ('red', 'nir'), ('nir', 'red')),
])
def test_channels_are_chosen_by_commas_or_by_a_word_of_single_letters(text, available, expected):
  assert choose(text, available) == expected


@pytest.mark.parametrize('text', ['RGX', 'RR', 'R,,G', 'red'])
def test_a_choice_that_is_none_is_refused(text):
  with pytest.raises(UserError, match='Valid: R, G, B'):
    choose(text, ('R', 'G', 'B'))


def test_names_are_split_at_commas():
  assert split_names('') == ()
  assert split_names('a, b') == ('a', 'b')


def test_a_spec_survives_its_json():
  assert ChannelSpec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.parametrize(('values', 'said'), [
    ([0, 255], ''), ([40, 60], ''), ([-20, 300], ''), ([0.1, 0.9], 'at one end'), ([253, 254], 'at one end'),
    ([0, 0], ''), ([0, 900], 'far outside'), ([-200, 30], 'far outside')])
def test_values_in_another_unit_are_told_from_dark_and_bright_images(values, said):
  spec = ChannelSpec(('R', 'nir'), ('', ''), (100.0, 0.0), (50.0, 1.0), (0.0, 0.0), (255.0, 0.0))  # without nir
  image = np.array(values, np.float32).reshape(2, 1, 1) * np.ones((1, 1, 2), np.float32)
  found = spec.unusual(image, np.array([True, True]))
  assert (said in found) if said else found == ''
  assert spec.unusual(image, np.array([False, True])) == ''
  assert ChannelSpec(('R',), ('',), (100.0,), (50.0,)).unusual(image[..., :1], np.array([True])) == ''


def test_many_values_in_other_units_are_told_from_those_of_another_kind():
  spec = ChannelSpec(('a', 'b'), ('', ''), (1500.0, 2500.0), (600.0, 900.0))
  mean, std = np.array(spec.mean), np.array(spec.std)
  for factor in (0.1, 0.04, 10):
    assert 'are they in the same units?' in spec.unlike(factor * mean, factor * std)
    assert spec.unlike(factor * mean, np.array([factor * std[0], std[1]])) == ''  # one of them is as in training
    assert 'same units?' in spec.unlike(np.array([factor * mean[0], np.nan]), np.array([factor * std[0], np.nan]))
  assert spec.unlike(mean, std) == ''
  assert spec.unlike(mean, std / 10) == ''  # a lake, say
  assert spec.unlike(mean / 2, std / 2) == ''
  assert spec.unlike(np.full(2, np.nan), np.full(2, np.nan)) == ''

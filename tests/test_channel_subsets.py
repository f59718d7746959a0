"""Subsets of channels by name."""

import itertools

import numpy as np
import pytest

from mils_jax.channel_subsets import EvaluationOptions, read_subsets, select_subsets, subset_name, usual_subsets
from mils_jax.errors import UserError

BANDS = ('blue', 'green', 'red', 'nir', 'swir')


def test_of_three_channels_the_reports_seven_are_usual():
  assert [''.join(subset) for subset in usual_subsets('RGB')] == ['RGB', 'RG', 'RB', 'GB', 'R', 'G', 'B']


def test_of_more_all_all_but_one_and_each_alone_are_usual():
  found = usual_subsets(BANDS)
  assert found[0] == BANDS
  assert {subset for subset in found if len(subset) == 4} == {tuple(b for b in BANDS if b != out) for out in BANDS}
  assert found[-5:] == [(band,) for band in BANDS]
  assert len(found) == 11


@pytest.mark.parametrize('count', range(1, 13))
@pytest.mark.parametrize('seed', [0, 5])
def test_the_drawn_subsets_stay_those_that_older_runs_keep(count, seed):
  channels = [f'c{place}' for place in range(count)]
  options = EvaluationOptions(all_subsets_up_to=3, sampled_subsets=30, seed=seed)
  chosen = {places for size in {1, count - 1, count} - {0} for places in itertools.combinations(range(count), size)}
  random, most = np.random.default_rng(seed), min(len(chosen) + 30, 2**count - 1)
  while len(chosen) < most:  # as the first version drew them
    size = random.integers(2, count - 1)
    chosen.add(tuple(np.sort(random.choice(count, size, replace=False)).tolist()))
  assert select_subsets(channels, options) == [
      tuple(f'c{place}' for place in places) for places in sorted(chosen, key=lambda places: (len(places), places))]


def test_named_groups_and_their_pairs_are_usual_too_each_subset_once():
  groups = [('blue', 'green', 'red'), ('nir',), ('swir', 'nir')]
  found = usual_subsets(BANDS, groups)
  extra = set(found) - set(usual_subsets(BANDS))
  assert extra == {('blue', 'green', 'red'), ('nir', 'swir')}  # the other pairs are all but one, all, or there already
  assert len(found) == len(set(found)) == 13


@pytest.mark.parametrize(('text', 'expected'), [
    ('red,blue; nir', [('blue', 'red'), ('nir',)]), ('', []), (' ; swir ;', [('swir',)])])
def test_subsets_are_read_in_the_channels_own_order(text, expected):
  assert read_subsets(text, BANDS) == expected


def test_single_letters_need_no_commas():
  assert read_subsets('BR;G', ('R', 'G', 'B')) == [('R', 'B'), ('G',)]
  assert [subset_name(subset) for subset in (('R', 'B'), ('red', 'nir'))] == ['RB', 'red+nir']


@pytest.mark.parametrize(('text', 'message'), [
    ('red,uv', "the subset 'red,uv' names 'uv', which is no channel here. Valid: blue, green, red, nir, swir"),
    ('red,nir;nir,red', "the subset 'red,nir' is given twice")])
def test_what_names_no_subset_is_refused(text, message):
  with pytest.raises(UserError) as error:
    read_subsets(text, BANDS)
  assert str(error.value) == message

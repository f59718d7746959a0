"""Which channels a training sample keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mils_jax.channel_dropout import ChannelDropout
from mils_jax.errors import UserError

CHANNELS = 5
MANY = 6000


def draw(method, present=None, positions=None, seed=0, subsets=(), **options):
  present = np.ones((MANY, CHANNELS), bool) if present is None else present
  positions = jnp.arange(len(present)) if positions is None else positions
  return np.asarray(ChannelDropout(method, **options)(jax.random.key(seed), jnp.asarray(present), positions,
                                                        subsets))


@pytest.mark.parametrize('method', ['independent', 'hierarchical'])
@settings(max_examples=25, deadline=None)
@given(present=st.lists(st.lists(st.booleans(), min_size=CHANNELS, max_size=CHANNELS).filter(any), min_size=8,
                        max_size=8), seed=st.integers(0, 10**6))
def test_some_of_what_is_there_is_kept_and_nothing_else(method, present, seed):
  present = np.array(present)
  kept = draw(method, present, seed=seed, rate=0.9)
  assert kept.any(axis=1).all()
  assert not (kept & ~present).any()


def test_without_dropout_everything_is_kept():
  present = np.random.default_rng(0).random((50, CHANNELS)) < 0.5
  np.testing.assert_array_equal(draw('none', present), present)


def test_hierarchical_draws_each_number_and_each_subset_of_it_alike():
  kept = draw('hierarchical')
  numbers = np.bincount(kept.sum(axis=1), minlength=CHANNELS + 1)[1:]
  assert stats.chisquare(numbers).pvalue > 1e-4
  pairs = kept[kept.sum(axis=1) == 2] @ (1 << np.arange(CHANNELS))
  assert stats.chisquare(np.unique(pairs, return_counts=True)[1]).pvalue > 1e-4
  assert len(np.unique(pairs)) == 10


def test_independent_drops_each_with_its_probability_but_never_all():
  kept = draw('independent', rate=0.3)
  expected = 0.7 + 0.3**CHANNELS / CHANNELS  # where all would go, one stays
  assert abs(kept.mean() - expected) < 4 * np.sqrt(0.21 / kept.size)
  both = (kept[:, 0] & kept[:, 1]).mean()
  assert abs(both - 0.49) < 4 * np.sqrt(0.25 / MANY)


NAMED = ((True, True, False, False, False), (False, False, False, False, True))


def test_half_of_the_samples_keep_a_named_subset_each_as_often():
  kept, rest = draw('hierarchical', subsets=NAMED), draw('hierarchical', seed=1)
  shares = [(kept == subset).all(axis=1).mean() for subset in NAMED]
  also = [(rest == subset).all(axis=1).mean() for subset in NAMED]  # by the method's own draw
  np.testing.assert_allclose(shares, 0.25 + np.array(also) / 2, atol=4 * np.sqrt(0.25 * 0.75 / MANY))
  others = ~(kept[:, None] == np.array(NAMED)).all(axis=2).any(axis=1)
  numbers = [np.bincount(sample.sum(axis=1), minlength=CHANNELS + 1)[3:] for sample in (kept[others], rest)]
  assert stats.chi2_contingency(numbers).pvalue > 1e-4


def test_of_a_named_subset_a_sample_keeps_what_it_has_and_else_draws():
  present = np.tile([[True, False, True, False, False]], (MANY, 1))
  kept = draw('independent', present, subsets=NAMED, rate=0.0)
  assert not kept[:, ~present[0]].any()
  only_first = (kept == [True, False, False, False, False]).all(axis=1)
  assert abs(only_first.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / MANY)
  np.testing.assert_array_equal(kept[~only_first], present[~only_first])  # with none of the second subset, all are kept


def test_per_batch_all_samples_draw_the_same_and_batches_differ():
  kept = draw('hierarchical', per='batch')
  assert (kept == kept[0]).all()
  assert len({tuple(draw('hierarchical', seed=seed, present=np.ones((1, CHANNELS), bool), per='batch')[0])
              for seed in range(30)}) > 5


def test_a_sample_draws_the_same_whichever_device_holds_it():
  whole = draw('hierarchical', np.ones((12, CHANNELS), bool))
  second = draw('hierarchical', np.ones((4, CHANNELS), bool), positions=jnp.arange(4, 8))
  np.testing.assert_array_equal(second, whole[4:8])


@pytest.mark.parametrize('wrong', [{'method': 'hierarchic'}, {'rate': 1.0}, {'per': 'epoch'}], ids=str)
def test_a_value_that_cannot_be_is_named(wrong):
  with pytest.raises(UserError, match=str(next(iter(wrong.values())))):
    ChannelDropout(**wrong)


@pytest.mark.parametrize(('wrong', 'message'), [
    ({'full_view': True}, 'channel_dropout.full_view, distillation and subsets need channel dropout'),
    ({'subsets': 'R'}, 'channel_dropout.full_view, distillation and subsets need channel dropout'),
    ({'distillation': 0.5}, 'need channel dropout'),
    ({'method': 'hierarchical', 'distillation': 0.5}, 'needs channel_dropout.full_view=true')], ids=str)
def test_what_does_not_go_together_is_refused(wrong, message):
  with pytest.raises(UserError) as error:
    ChannelDropout(**wrong)
  assert message in str(error.value)

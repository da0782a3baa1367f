"""Samplers: shares that are exact, weights that are respected, orders that resume and are the same everywhere."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxon.datasets.sampler import ShuffledSampler
from praxon.datasets.samplers.episodes import EpisodeSampler, kept_frames
from praxon.datasets.samplers.mixture import MixtureSampler
from praxon.datasets.samplers.subset import SubsetSampler
from praxon.datasets.samplers.weighted import RESOLUTION, WeightedSampler, WeightTable
from praxon.errors import DatasetError

LENGTHS = np.array([5, 1, 9, 4])

PINNED = {
    "shuffled": [4, 6, 2, 7, 3, 5],
    "weighted": [16, 10, 4, 3, 18, 19],
    "episode": [10, 10, 3, 2, 11, 16],
    "distinct": [37, 17, 1, 48, 56, 35],
    "mixture": [2, 4, 105, 102, 100, 100, 210, 218],
}

MAKERS = {
    "weighted": lambda seed, batch: WeightedSampler(np.arange(20.0), batch, seed),
    "episode": lambda seed, batch: EpisodeSampler(
        LENGTHS, batch, seed, weights=np.array([1.0, 2, 3, 0.5]), drop_last=1
    ),
    "distinct": lambda seed, batch: EpisodeSampler(np.full(20, 3), min(batch, 20), seed, distinct=True),
    "subset": lambda seed, batch: SubsetSampler(ShuffledSampler(3, batch, seed), np.array([7, 70, 700])),
    "mixture": lambda seed, batch: MixtureSampler(
        [ShuffledSampler(7, 3, seed), WeightedSampler(np.ones(9), 5, seed), EpisodeSampler(LENGTHS, 1, seed)],
        [1, 2, 0.7],
        batch,
        offsets=[0, 100, 200],
    ),
    "mixture of mixtures": lambda seed, batch: MixtureSampler(
        [
            MixtureSampler([ShuffledSampler(4, 2, seed), ShuffledSampler(5, 2, seed)], [1, 2], 5),
            ShuffledSampler(9, 4, seed),
        ],
        [0.5, 0.5],
        batch,
    ),
}


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), batch=st.integers(1, 17), before=st.integers(0, 9))
def test_resumes_exactly_from_any_step(name, seed, batch, before):
    sampler = MAKERS[name](seed, batch)
    for _ in range(before):
        sampler.next()
    state = json.loads(json.dumps(sampler.state_dict()))
    resumed = MAKERS[name](seed, batch)
    resumed.next()
    resumed.load_state_dict(state)
    for _ in range(5):
        expected, found = sampler.next(), resumed.next()
        assert found.dtype == np.int64
        assert found.shape == (sampler.batch_size,)
        assert np.array_equal(expected, found)
    assert sampler.state_dict() == resumed.state_dict()


@pytest.mark.parametrize("name", MAKERS)
def test_equal_seeds_give_equal_orders_and_others_do_not(name):
    first, again, other = (
        np.concatenate([sampler.next() for _ in range(5)]) for sampler in (MAKERS[name](seed, 8) for seed in (3, 3, 4))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_orders_are_pinned():
    """The numbers themselves: a change of order breaks every run that is resumed across it."""
    assert ShuffledSampler(10, 6, 0).next().tolist() == PINNED["shuffled"]
    assert MAKERS["weighted"](0, 6).next().tolist() == PINNED["weighted"]
    assert MAKERS["episode"](0, 6).next().tolist() == PINNED["episode"]
    assert MAKERS["distinct"](0, 6).next().tolist() == PINNED["distinct"]
    assert MAKERS["mixture"](0, 8).next().tolist() == PINNED["mixture"]


# -- weighted -----------------------------------------------------------------------------------------


def test_weights_are_respected():
    weights = np.array([1.0, 0.0, 2.0, 5.0, 0.25, 0.0])
    sampler = WeightedSampler(weights, 1000, seed=1)
    counts = np.bincount(np.concatenate([sampler.next() for _ in range(100)]), minlength=6)
    expected = 1e5 * weights / weights.sum()
    positive = weights > 0
    assert counts[~positive].tolist() == [0, 0]
    chi_square = ((counts - expected)[positive] ** 2 / expected[positive]).sum()
    assert chi_square < 11.34  # 1 % quantile of three degrees of freedom


def test_the_table_is_of_integers_and_empty_entries_have_no_place_in_it():
    third = 1431655765  # 2^32 / 3, rounded

    class Numbers:
        def integers(self, low, high, size):
            assert (low, high, size) == (0, third + RESOLUTION, 4)
            return np.array([0, third - 1, third, high - 1])

    assert WeightTable(np.array([1.0, 0.0, 3.0])).draw(Numbers(), 4).tolist() == [0, 0, 2, 2]


def test_the_scale_of_weights_does_not_matter():
    weights = np.random.default_rng(0).random(100)
    assert np.array_equal(WeightedSampler(weights, 64, 5).next(), WeightedSampler(weights * 2.0**-40, 64, 5).next())


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [np.inf, 1.0], [[1.0]]])
def test_what_is_no_weight_is_refused(weights):
    with pytest.raises(DatasetError, match="one finite weight >= 0 for each entry"):
        WeightedSampler(np.array(weights), 2, 0)


def test_drawing_without_repetition_follows_the_weights():
    """Of weights 1, 2, 3, a pair (i, j) in order has probability w_i / 6 * w_j / (6 - w_i)."""
    table, rng = WeightTable(np.array([1.0, 2.0, 3.0])), np.random.default_rng(2)
    drawn = [tuple(table.draw_distinct(rng, 2)) for _ in range(6000)]
    w = [1, 2, 3]
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    expected = np.array([6000 * w[i] / 6 * w[j] / (6 - w[i]) for i, j in pairs])
    counts = np.array([drawn.count(pair) for pair in pairs])
    assert counts.sum() == 6000
    assert ((counts - expected) ** 2 / expected).sum() < 15.09  # 1 % quantile of five degrees of freedom


# -- episodes -----------------------------------------------------------------------------------------


def test_episodes_are_equally_likely_whatever_their_length():
    lengths = np.array([2, 50, 10])
    sampler = EpisodeSampler(lengths, 500, seed=0)
    frames = np.concatenate([sampler.next() for _ in range(60)])
    episodes = np.searchsorted(np.cumsum(lengths), frames, side="right")
    assert np.bincount(episodes) / len(frames) == pytest.approx([1 / 3] * 3, abs=0.01)
    within = np.bincount(frames, minlength=62)[2:52]
    assert ((within - within.mean()) ** 2 / within.mean()).sum() < 74.9  # 1 % quantile of 49 degrees of freedom


def test_lengths_as_weights_make_frames_equally_likely():
    sampler = EpisodeSampler(LENGTHS, 1000, seed=0, weights=LENGTHS)
    counts = np.bincount(np.concatenate([sampler.next() for _ in range(40)]), minlength=19)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 34.8  # 1 % quantile of 18 degrees of freedom


def test_dropped_frames_never_come():
    wanted = [1, 2, 7, 8, 9, 10, 11, 12, 16]  # of 0-4, 5, 6-14, 15-18 without the first and the last two
    assert kept_frames(LENGTHS, 1, 2).tolist() == wanted
    sampler = EpisodeSampler(LENGTHS, 400, seed=0, drop_first=1, drop_last=2)
    assert sorted(set(sampler.next().tolist())) == wanted


def test_kept_frames_of_all_is_all():
    assert kept_frames(LENGTHS).tolist() == list(range(19))


def test_an_epoch_over_kept_frames_is_each_of_them_once():
    kept = kept_frames(LENGTHS, 0, 1)
    sampler = SubsetSampler(ShuffledSampler(len(kept), len(kept), 0), kept)
    assert sorted(sampler.next().tolist()) == kept.tolist()


@given(seed=st.integers(0, 50), batch=st.integers(1, 4))
def test_a_batch_of_distinct_episodes(seed, batch):
    sampler = EpisodeSampler(LENGTHS, batch, seed, weights=np.array([1, 1e-6, 1, 1e6]), distinct=True)
    for _ in range(3):
        episodes = np.searchsorted(np.cumsum(LENGTHS), sampler.next(), side="right")
        assert len(set(episodes.tolist())) == batch


def test_what_cannot_be_sampled_is_said():
    with pytest.raises(DatasetError, match="No frame is left of 4 episodes of at most 9 frames"):
        EpisodeSampler(LENGTHS, 1, 0, drop_first=5, drop_last=4)
    with pytest.raises(DatasetError, match="A batch of 4 .* needs as many episodes; 3 have"):
        EpisodeSampler(LENGTHS, 4, 0, drop_last=1, distinct=True)
    with pytest.raises(DatasetError, match="needs as many weights"):
        EpisodeSampler(LENGTHS, 4, 0, weights=np.ones(3))
    with pytest.raises(DatasetError, match="at least 0; got -1 first"):
        kept_frames(LENGTHS, -1)
    with pytest.raises(DatasetError, match="batch size of at least 1; got 0"):
        EpisodeSampler(LENGTHS, 0, 0)


# -- mixtures -----------------------------------------------------------------------------------------


def test_half_of_every_batch_from_each_of_two_ranges():
    mixture = MixtureSampler([ShuffledSampler(3, 8, 0), ShuffledSampler(1000, 8, 1)], [0.5, 0.5], 10, offsets=[0, 3])
    batches = np.stack([mixture.next() for _ in range(50)])
    assert (batches[:, :5] < 3).all()
    assert (batches[:, 5:] >= 3).all()
    # what each sampler gives is what it would give alone, in order and without loss
    alone = ShuffledSampler(1000, 250, 1).next()
    assert np.array_equal(batches[:, 5:].reshape(-1), alone + 3)


def test_a_third_of_ten_is_three_three_four_in_turn():
    mixture = MixtureSampler([ShuffledSampler(1, 1, 0)] * 3, [1 / 3, 1 / 3, 1 / 3], 10, offsets=[0, 1, 2])
    counts = [np.bincount(mixture.next()).tolist() for _ in range(6)]
    assert counts == [[4, 3, 3], [3, 4, 3], [3, 3, 4]] * 2


@settings(deadline=None)
@given(shares=st.lists(st.floats(0.01, 10), min_size=1, max_size=6), batch=st.integers(1, 12))
def test_shares_hold_in_every_batch_and_over_batches(shares, batch):
    size = len(shares)
    mixture = MixtureSampler([ShuffledSampler(1, 1, 0) for _ in shares], shares, batch, offsets=range(size))
    quota = batch * np.array(shares) / np.sum(shares)
    total = np.zeros(size)
    for step in range(1, 40):
        counts = np.bincount(mixture.next(), minlength=size)
        assert counts.sum() == batch
        assert (np.abs(counts - quota) < 1 + 1e-4).all()
        total += counts
        assert (np.abs(total - step * quota) < (1 if size <= 3 else 2) + 1e-3).all()


def test_mixtures_that_make_no_sense_are_refused():
    one = ShuffledSampler(3, 1, 0)
    for samplers, shares in (([], []), ([one], [1, 1]), ([one, one], [1, 0]), ([one], [np.nan]), ([one], [-1])):
        with pytest.raises(DatasetError, match="mixture"):
            MixtureSampler(samplers, shares, 4)
    with pytest.raises(DatasetError, match="of a mixture of 2 samplers; here are 1"):
        MixtureSampler([one], [1], 4).load_state_dict(MixtureSampler([one, one], [1, 1], 4).state_dict())

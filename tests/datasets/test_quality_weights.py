"""Weights from quality: the formula by hand, what is better weighs more, and a floor on how few samples count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from praxon.contract import Feature, PolicyContract
from praxon.datasets.measures.measured import Measure
from praxon.datasets.quality import Quality
from praxon.datasets.quality_weights import (
    advantage_weights,
    effective_size,
    progress_weights,
    return_weights,
    softmax_weights,
    trajectory_weights,
    weights,
)
from praxon.datasets.samplers.weighted import WeightedSampler
from praxon.errors import DatasetError

LENGTHS = np.array([2, 3, 1])
QUALITY = Quality(
    {name: Measure(name, "1", better, "") for name, better in (("jerk", -1), ("path_efficiency", 1), ("duration", 0))},
    {"jerk": np.array([0, 1, 2, 3, np.nan, 5], np.float32)},
    {"jerk": np.array([1.0, 2, 5]), "path_efficiency": np.array([0.2, np.nan, 0.4]), "duration": np.array([3.0, 1, 2])},
    LENGTHS,
)


class Rewarded:
    """Episodes whose first state and rewards are given."""

    contract = PolicyContract(
        "arm", "count", (Feature("observation.state", "vector", (1,)),), Feature("action", "vector", (1,))
    )

    def __init__(self, first, returns, length=2):
        self.episode_lengths = np.full(len(first), length)
        self.columns = {
            "observation.state": np.repeat(np.asarray(first, float), length)[:, None],
            "action": np.zeros((length * len(first), 1)),
            "next.reward": np.repeat(np.asarray(returns, float) / length, length)[:, None],
        }

    def episode_slice(self, episode):
        length = int(self.episode_lengths[0])
        return slice(length * episode, length * (episode + 1))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def test_less_jerk_weighs_more_by_the_formula():
    """Jerk 1, 2, 5 is scaled to 1, 3/4, 0; each episode's value is repeated over its frames."""
    found = weights(QUALITY, ["jerk"], temperature=0.5, least_effective_share=0)
    assert found == pytest.approx(softmax(np.array([1, 1, 0.75, 0.75, 0.75, 0]) / 0.5))


def test_several_measures_are_averaged_and_unknown_values_are_typical():
    """Efficiency 0.2, unknown, 0.4 is scaled to 0, 1/2, 1; the duration, less being asked for, to 0, 1, 1/2."""
    found = weights(QUALITY, ["jerk", "path_efficiency", "-duration"], temperature=1, least_effective_share=0)
    scores = np.array([1 + 0 + 0, 0.75 + 0.5 + 1, 0 + 1 + 0.5]) / 3
    assert found == pytest.approx(softmax(np.repeat(scores, LENGTHS)))
    assert weights(QUALITY, ["+duration"])[0] > weights(QUALITY, ["-duration"])[0]


def test_by_frame_and_by_rank():
    """Frame jerk 0 1 2 3 ? 5 with the median 2 for the unknown; ranks 0 1 2.5 4 2.5 5 of 5 from the worst."""
    found = weights(QUALITY, ["jerk"], temperature=1, scale="frame", least_effective_share=0)
    assert found == pytest.approx(softmax(1 - np.array([0, 1, 2, 3, 2, 5]) / 5))
    found = weights(QUALITY, ["jerk"], temperature=1, scale="frame", method="rank", least_effective_share=0)
    assert found == pytest.approx(softmax(np.array([5, 4, 2.5, 1, 2.5, 0]) / 5))


def test_an_extreme_episode_stretches_the_scale_but_not_the_ranks():
    values = np.array([1.0, 2, 3, 4, 1000])
    quality = Quality(QUALITY.measures, {}, {"jerk": values}, np.ones(5, int))
    by_extremes = weights(quality, ["jerk"], least_effective_share=0)
    by_rank = weights(quality, ["jerk"], least_effective_share=0, method="rank")
    assert by_extremes[0] / by_extremes[3] == pytest.approx(np.exp(3 / 999 / 0.1))
    assert by_rank[0] / by_rank[3] == pytest.approx(np.exp(0.75 / 0.1))


def test_measures_that_cannot_be_weights_are_named():
    with pytest.raises(DatasetError, match="'duration' has no better end; '\\+duration' would prefer more of it"):
        weights(QUALITY, ["duration"])
    with pytest.raises(DatasetError, match="'path_efficiency' is of whole episodes; those of single frames are jerk"):
        weights(QUALITY, ["path_efficiency"], scale="frame")
    with pytest.raises(DatasetError, match="'jitter' was not measured. Measures: jerk, path_efficiency, duration"):
        weights(QUALITY, ["-jitter"])
    with pytest.raises(DatasetError, match="a scale \\(episode or frame\\)"):
        weights(QUALITY, ["jerk"], scale="batch")
    with pytest.raises(DatasetError, match="temperature > 0"):
        weights(QUALITY, ["jerk"], temperature=0)


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=200),
    temperature=st.floats(1e-4, 10),
    share=st.floats(0, 0.99),
)
def test_enough_samples_always_count(scores, temperature, share):
    found = softmax_weights(np.array(scores), temperature, share)
    assert found.sum() == pytest.approx(1)
    assert effective_size(found) >= share * len(scores)
    assert (np.diff(found[np.argsort(scores, kind="stable")]) >= -1e-15).all()


def test_scores_that_are_not_finite_are_refused():
    dataset = Rewarded([0, 0, 0], [0, 5, 10])
    dataset.columns["next.reward"][3] = np.nan
    for find in (
        lambda: softmax_weights(np.array([0.0, np.nan]), 0.1),
        lambda: trajectory_weights(np.array([0.0, np.inf]), np.array([1, 1])),
        lambda: return_weights(dataset),
    ):
        with pytest.raises(DatasetError, match="need a finite score for every frame"):
            find()


def test_the_best_weighs_e_to_the_ten_times_the_worst():
    found = softmax_weights(np.array([0.0, 1.0]), 0.1, 0.0)
    assert found[1] / found[0] == pytest.approx(22026.47, rel=1e-6)


def test_long_episodes_have_weight_by_their_length():
    found = trajectory_weights(np.array([3.0, 3.0]), np.array([1, 4]))
    assert found == pytest.approx(np.full(5, 0.2))


def test_return_weighting_by_hand():
    """Returns 0, 5, 10 over two frames each, scaled to 0, 1/2, 1."""
    found = return_weights(Rewarded([0, 0, 0], [0, 5, 10]), temperature=1, least_effective_share=0)
    assert found == pytest.approx(softmax(np.repeat([0, 0.5, 1], 2)))
    with pytest.raises(DatasetError, match="need the column 'next.reward'; there are observation.state, action"):
        dataset = Rewarded([0], [1])
        del dataset.columns["next.reward"]
        return_weights(dataset)


def test_advantage_weighting_forgives_a_hard_start():
    """Returns are 10 s with +1 and -1 in turn: the start explains the most of it, the turn is what is left."""
    first = np.arange(10.0)
    turn = np.array([1, -1, -1, 1, 0, 0, 1, -1, -1, 1.0])  # neither trend nor mean
    found = advantage_weights(Rewarded(first, 10 * first + turn), least_effective_share=0, temperature=1)
    assert found == pytest.approx(softmax(np.repeat((turn + 1) / 2, 2)))
    # returns that the start explains altogether leave nothing to prefer
    assert advantage_weights(Rewarded(first, 10 * first)) == pytest.approx(np.full(20, 1 / 20))
    with pytest.raises(DatasetError, match="fits 2 coefficients to the returns of 2 episodes"):
        advantage_weights(Rewarded([0, 1], [0, 1]))


def test_progress_weights_by_hand():
    """Progress over two frames ahead: 0.3, 0.005, -0.2, 0, the last of an episode 0 (to its own end)."""
    progress = np.array([0.0, 0.1, 0.3, 0.105, 0.1, 0.1, np.nan, 0.5])
    found = progress_weights(progress, np.array([6, 2]), lookahead=2)
    gained = np.array([0.3, 0.005, -0.2, -0.005, 0, 0])
    known = np.append(gained, 0.0)
    mean, spread = max(known.mean(), 0), known.std()
    partial = np.clip((known - mean + 2 * spread) / (4 * spread), 0, 1)
    assert found == pytest.approx([1, partial[1], 0, 0, partial[4], partial[5], 1, partial[6]], rel=1e-4)


def test_weights_feed_the_sampler():
    found = weights(QUALITY, ["jerk"], temperature=0.3, least_effective_share=0)
    counts = np.bincount(WeightedSampler(found, 20_000, 0).next(), minlength=6)
    assert counts / 20_000 == pytest.approx(found, abs=0.012)

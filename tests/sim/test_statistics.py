"""Intervals and summaries against numbers worked out elsewhere."""

import pytest

from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.statistics import latency_summary, success_summary, wilson_interval


def test_wilson_interval_against_the_published_example():
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263 gives 0.2553 to 0.3662.
    low, high = wilson_interval(81, 263)
    assert low == pytest.approx(0.2553, abs=5e-5)
    assert high == pytest.approx(0.3662, abs=5e-5)


def test_wilson_interval_stays_within_zero_and_one():
    assert wilson_interval(0, 20) == (0.0, pytest.approx(0.1611, abs=1e-4))
    assert wilson_interval(20, 20) == (pytest.approx(0.8389, abs=1e-4), 1.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_summaries():
    assert success_summary(9, 10)["success_rate"] == 0.9
    assert latency_summary([1.0, 2.0, 3.0])["p50"] == 2.0
    assert latency_summary([]) == {"p50": None, "p99": None}


def test_seeds_of_purposes_are_disjoint_and_prefixes_agree():
    collect, evaluate = (episode_seeds(purpose, 0, 1000) for purpose in Purpose)
    assert {seed % 2 for seed in collect} == {0}
    assert {seed % 2 for seed in evaluate} == {1}
    assert episode_seeds(Purpose.EVALUATE, 0, 10) == evaluate[:10]
    assert len(set(evaluate)) == 1000

"""Corruption: as many episodes as asked, noise of the size asked, ends cut, everything else to the bit."""

import numpy as np
import pytest

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.corruption import CORRUPTION, CUT, NOISE, Corrupted
from praxon.datasets.source import Episode
from praxon.errors import DatasetError

CONTRACT = PolicyContract(
    robot="toy",
    task="toy",
    observations=(Feature("observation.state", "vector", (2,), ("x", "y")),),
    action=Feature("action", "vector", (2,), ("x", "y")),
    chunk=Chunk(horizon=4, num_execute=2, control_period_s=0.1, num_obs_steps=2),
)


class Walks:
    contract, extra_features, robot_type, metadata, splits = CONTRACT, (), "toy", {}, {}

    def __len__(self):
        return 40

    def episode(self, index):
        rng = np.random.default_rng(index)
        action = rng.uniform([-1, -10], [1, 10], (100, 2)).astype(np.float32)
        frames = {"observation.state": rng.standard_normal((100, 2)).astype(np.float32), "action": action}
        return Episode(frames, np.arange(100, dtype=np.int64), "walk")


def test_as_many_as_asked_and_the_rest_as_they_were():
    worse = Corrupted(Walks(), noisy_share=0.3, noise=0.1, cut_share=0.25, seed=3)
    assert (len(worse.noisy), len(worse.cut)) == (12, 10)
    noise = []
    for index in range(40):
        sound, found = Walks().episode(index), worse.episode(index)
        length = len(found.stamps_ns)
        assert (length < 100) == (index in worse.cut)
        if index in worse.cut:
            assert 40 <= length <= 70
        assert {len(values) for values in found.frames.values()} == {length}
        mark = NOISE * (index in worse.noisy) + CUT * (index in worse.cut)
        assert (found.frames[CORRUPTION.name] == mark).all()
        assert np.array_equal(found.frames["observation.state"], sound.frames["observation.state"][:length])
        difference = found.frames["action"] - sound.frames["action"][:length]
        assert difference.any() == (index in worse.noisy)
        if index in worse.noisy:
            noise.append(difference)
    spread = np.concatenate(noise).std(axis=0)
    np.testing.assert_allclose(spread, [0.1, 1.0], rtol=0.1)  # a tenth of half the range


def test_the_same_seed_gives_the_same_and_another_does_not():
    one, same, other = (Corrupted(Walks(), seed=seed) for seed in (0, 0, 1))
    assert (one.noisy, one.cut) == (same.noisy, same.cut) != (other.noisy, other.cut)
    index = min(one.noisy)
    assert np.array_equal(one.episode(index).frames["action"], same.episode(index).frames["action"])


@pytest.mark.parametrize(
    "settings", [{"noisy_share": 1.5}, {"cut_share": -0.1}, {"noise": -1.0}, {"cut_to": (0.4, 1.2)}]
)
def test_impossible_shares_are_refused(settings):
    with pytest.raises(DatasetError, match="is needed"):
        Corrupted(Walks(), **settings)

"""Statistics of represented actions: over all chunk starts, for each row of the chunk, by hand."""

import numpy as np
import pytest
import torch

from praxon.contract import POSE_COMPONENTS, Chunk, Feature, PolicyContract
from praxon.datasets.statistics import feature_statistics
from praxon.learning.fitting import fit_normalizer
from praxon.policies.base import Policy

HORIZON = 3
STATE = Feature("observation.state", "joint_position", (1,), ("a",), unit="rad")
ACTION = Feature("action", "joint_position", (1,), ("a",), unit="rad")
JOINTS = PolicyContract("arm", "task", (STATE,), ACTION, Chunk(horizon=HORIZON))
POSE = Feature("action", "pose", (7,), POSE_COMPONENTS, source="tool")
POSES = PolicyContract("arm", "task", (STATE,), POSE, Chunk(horizon=HORIZON))


class Still(Policy):
    """Does nothing; its normaliser is what is looked at."""

    def loss(self, batch, generator):
        return torch.zeros(len(batch["action"]))

    def sample(self, window, noise):
        return noise


class Line:
    """Chunks of one long episode: frame t observes t and asks for t + 1, t + 3, t + 5 with a spread of the last."""

    def __init__(self, contract, num=100):
        start = np.arange(num, dtype=np.float32)
        self.state = start[:, None, None]
        rows = start[:, None] + np.array([1, 3, 5]) + np.array([0, 0, 0.5]) * np.where(start % 2, 1, -1)[:, None]
        self.action = np.zeros((num, HORIZON, contract.action.size), np.float32)
        self.action[..., 0] = rows
        if contract.action.kind == "pose":
            self.action[..., 3] = 1

    def __len__(self):
        return len(self.state)

    def batch(self, indices, pictures=True):
        return {"observation.state": self.state[indices], "action": self.action[indices]}


def fitted(contract, actions, mode="mean_std"):
    windows = Line(contract)
    policy = Still(contract, mode, 0.05, actions)
    stored = {"observation.state": feature_statistics(windows.state[:, 0])}
    stored["action"] = feature_statistics(windows.action[:, 0])
    fit_normalizer(policy, stored, windows)
    part = policy.normalizer.features["action"]
    return part.center.numpy(), part.spread.numpy()


def test_relative_actions_have_statistics_of_each_row():
    center, spread = fitted(JOINTS, "relative")
    np.testing.assert_allclose(center[:, 0], [1, 3, 5], atol=1e-5)
    np.testing.assert_allclose(spread[:, 0], [0.05, 0.05, 0.5], atol=1e-5)  # nothing varies: the floor


def test_deltas_have_statistics_of_their_own():
    center, spread = fitted(JOINTS, "delta", "min_max")
    np.testing.assert_allclose(center[:, 0], [1, 2, 2], atol=1e-5)
    np.testing.assert_allclose(spread[:, 0], [0.05, 0.05, 0.5], atol=1e-5)


def test_absolute_joints_take_the_stored_statistics():
    center, spread = fitted(JOINTS, "absolute")
    assert center == pytest.approx([50.5])  # of row 0 alone, as stored
    assert spread == pytest.approx([np.arange(100).std()], rel=1e-5)


def test_absolute_poses_have_statistics_over_all_rows_and_untouched_rotations():
    center, spread = fitted(POSES, "absolute")
    assert center.shape == spread.shape == (9,)
    assert center[0] == pytest.approx(49.5 + 3, rel=1e-5)
    assert (center[1:] == 0).all()
    assert (spread[3:] == 1).all()
    assert spread[1] == pytest.approx(0.05)

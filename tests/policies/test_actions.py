"""Relative actions: rows minus the joints at the newest observation, grippers as they are, and back."""

import pytest
import torch

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.errors import ConfigError, ContractError
from praxon.policies.actions import ActionRepresentation

STATE = Feature("observation.state", "joint_position", (3,), ("grip", "a", "b"), unit="m,rad,rad")
ACTION = Feature("action", "joint_position", (3,), ("a", "b", "grip"), unit="rad,rad,m")
CONTRACT = PolicyContract("arm", "task", (STATE,), ACTION, Chunk(horizon=2, num_obs_steps=2))

# Two observation steps; the newest has grip 0.03, a = 10, b = 20.
WINDOW = {"observation.state": torch.tensor([[[0.01, 1.0, 2.0], [0.03, 10.0, 20.0]]])}
ABSOLUTE = torch.tensor([[[11.0, 22.0, 0.04], [12.0, 24.0, 0.00]]])
RELATIVE = torch.tensor([[[1.0, 2.0, 0.04], [2.0, 4.0, 0.00]]])


def test_relative_is_matched_by_name_to_the_newest_observation():
    representation = ActionRepresentation(CONTRACT, "relative")
    assert torch.equal(representation.encode(ABSOLUTE, WINDOW), RELATIVE)
    assert torch.equal(representation.decode(RELATIVE, WINDOW), ABSOLUTE)


def test_absolute_is_left_alone():
    representation = ActionRepresentation(CONTRACT, "absolute")
    assert torch.equal(representation.encode(ABSOLUTE, WINDOW), ABSOLUTE)
    assert torch.equal(representation.decode(ABSOLUTE, WINDOW), ABSOLUTE)


def test_what_cannot_be_relative_is_refused():
    with pytest.raises(ConfigError, match="absolute, relative"):
        ActionRepresentation(CONTRACT, "relativ")
    blind = PolicyContract("arm", "task", (Feature("observation.x", "vector", (1,)),), ACTION)
    with pytest.raises(
        ContractError, match="need the positions of a, b among the observations; there are observation.x"
    ):
        ActionRepresentation(blind, "relative")
    slide = PolicyContract("arm", "task", (STATE,), Feature("action", "vector", (2,)))
    with pytest.raises(ContractError, match="policy.actions=absolute"):
        ActionRepresentation(slide, "relative")

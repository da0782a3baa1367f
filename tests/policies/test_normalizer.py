"""The normaliser: inverse maps, what each mode maps where, and tiny spreads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from praxon.contract import Feature
from praxon.datasets.statistics import feature_statistics
from praxon.errors import ConfigError, ContractError
from praxon.policies.actions import ActionRepresentation
from praxon.policies.normalizer import MODES, Normalizer


@pytest.mark.parametrize("mode", MODES)
def test_denormalize_inverts_normalize(contract, statistics_of, batch_of, mode):
    normalizer = Normalizer(contract, mode)
    normalizer.fit(statistics_of(contract))
    for name, value in batch_of(contract, 5).items():
        if name == "observation.environment_state":
            value[..., 3].abs_()  # observed quaternions may change their sign, see below
        if name != "action_is_pad":
            torch.testing.assert_close(normalizer.denormalize(name, normalizer.normalize(name, value)), value)


@pytest.mark.parametrize(
    ("mode", "at_minus_one", "at_one"), [("mean_std", -0.4, 0.6), ("min_max", -1.9, 2.1), ("quantile", -1.065, 1.265)]
)
def test_modes_map_their_statistics_to_one(contract, statistics_of, mode, at_minus_one, at_one):
    normalizer = Normalizer(contract, mode)
    normalizer.fit(statistics_of(contract))  # action: mean 0.1, std 0.5
    ends = torch.tensor([[at_minus_one] * 3, [at_one] * 3])
    torch.testing.assert_close(normalizer.normalize("action", ends), torch.tensor([[-1.0] * 3, [1.0] * 3]))


def test_nearly_constant_components_are_not_blown_up(contract, statistics_of):
    statistics = statistics_of(contract)
    statistics["action"]["std"] = np.array([0.5, 1e-6, 0.0])
    normalizer = Normalizer(contract, spread_floor=0.01)
    normalizer.fit(statistics)
    normalized = normalizer.normalize("action", torch.tensor([0.1, 0.1 + 1e-4, 0.1 + 1e-4]))
    torch.testing.assert_close(normalized, torch.tensor([0.0, 0.01, 0.01]), atol=1e-5, rtol=0)


def test_statistics_travel_in_the_state_dict(contract, statistics_of):
    fitted, fresh = Normalizer(contract), Normalizer(contract)
    fitted.fit(statistics_of(contract))
    assert fitted.fitted
    assert not fresh.fitted
    fresh.load_state_dict(fitted.state_dict())
    value = torch.randn(2, 3)
    assert torch.equal(fresh.normalize("action", value), fitted.normalize("action", value))


def test_use_before_fitting_cannot_pass_for_a_number(contract):
    assert torch.isnan(Normalizer(contract).normalize("action", torch.zeros(3))).all()


def test_errors_name_what_is_wrong(contract, statistics_of):
    with pytest.raises(ConfigError, match=r"'meanstd'.*Did you mean 'mean_std'"):
        Normalizer(contract, "meanstd")
    statistics = statistics_of(contract)
    with pytest.raises(ContractError, match=r"Statistics of 'action' are missing. There are: observation.state"):
        Normalizer(contract).fit({name: value for name, value in statistics.items() if name != "action"})
    statistics["action"]["mean"] = np.zeros(4)
    with pytest.raises(ContractError, match=r"'mean' of 'action' has shape \(4,\).*\(3,\)"):
        Normalizer(contract).fit(statistics)


def test_each_group_has_its_mode(contract, statistics_of):
    modes = {"observation": "quantile", "observation.state": "none", "joint": "min_max"}
    normalizer = Normalizer(contract, modes)
    normalizer.fit(statistics_of(contract))
    assert normalizer.action_modes == ("min_max",) * 3
    torch.testing.assert_close(normalizer.normalize("action", torch.full((3,), 2.1)), torch.ones(3))
    state = torch.randn(2, 3)
    assert torch.equal(normalizer.normalize("observation.state", state), state)
    pose = torch.full((7,), 0.3 + 2.33 * 0.2)
    torch.testing.assert_close(normalizer.normalize("observation.environment_state", pose), torch.ones(7))
    with pytest.raises(ConfigError, match=r"'joints', which is neither a feature nor a group.*Did you mean 'joint'"):
        Normalizer(contract, {"joints": "none"})


@pytest.mark.parametrize(
    ("kind", "chosen", "rotation"),
    [
        ("absolute", "min_max", "none"),
        ("absolute", {"action": "min_max", "rotation": "mean_std"}, "mean_std"),
        ("relative", "min_max", "min_max"),
    ],
)
def test_absolute_six_number_rotations_are_left_alone(contract, kind, chosen, rotation):
    names = ("x", "y", "z", "qw", "qx", "qy", "qz", "grip")
    tool = Feature("observation.tool_pose", "pose", (7,), names[:7], source="tool")
    poses = replace(
        contract, observations=(tool,), action=Feature("action", "pose", (8,), names, unit="1", source="tool")
    )
    normalizer = Normalizer(poses, chosen, actions=ActionRepresentation(poses, kind))
    assert normalizer.action_modes == ("min_max",) * 3 + (rotation,) * 6 + ("min_max",)
    shape = (8, 10) if kind == "relative" else (10,)
    values = {"mean": 3.0, "std": 0.5, "min": 2.0, "max": 6.0, "q01": 0.0, "q99": 0.0}
    statistics = {"action": {name: np.full(shape, value) for name, value in values.items()}}
    statistics["observation.tool_pose"] = {name: np.full(7, value) for name, value in values.items()}
    normalizer.fit(statistics)
    normalized = normalizer.normalize("action", torch.full((8, 10), 6.0))
    six = {"none": 6.0, "mean_std": 6.0, "min_max": 1.0}[rotation]
    torch.testing.assert_close(normalized, torch.tensor([1.0] * 3 + [six] * 6 + [1.0]).expand(8, 10))


def test_quaternions_of_a_tool_that_points_down_do_not_jump(contract, statistics_of):
    """Half a turn about x, tilted a little to and fro: qw changes its sign, and with qw >= 0 all the others do."""
    angles = np.linspace(np.pi - 0.2, np.pi + 0.2, 41)
    poses = np.zeros((41, 7))
    poses[:, 3], poses[:, 4] = np.cos(angles / 2), np.sin(angles / 2)
    poses[poses[:, 3] < 0, 3:] *= -1
    assert np.abs(np.diff(poses, axis=0)).max() > 1.9
    statistics = statistics_of(contract)
    statistics["observation.environment_state"] = feature_statistics(poses)
    normalizer = Normalizer(contract, "none")
    normalizer.fit(statistics)
    normalized = normalizer.normalize("observation.environment_state", torch.from_numpy(poses))
    assert normalized.diff(dim=0).abs().max() < 0.01
    assert (normalized[:, 4] > 0.9).all()

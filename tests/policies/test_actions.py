"""Action representations: differences by name, motions seen from the tool, and back, whatever the normalisation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from praxon.contract import POSE_COMPONENTS, Chunk, Feature, PolicyContract
from praxon.datasets.statistics import feature_statistics
from praxon.errors import ConfigError, ContractError
from praxon.policies.actions import ActionRepresentation
from praxon.policies.normalizer import MODES, Normalizer
from praxon.policies.rotations import quaternion_to_matrix

STATE = Feature("observation.state", "joint_position", (3,), ("grip", "a", "b"), unit="m,rad,rad")
ACTION = Feature("action", "joint_position", (3,), ("a", "b", "grip"), unit="rad,rad,m")
CONTRACT = PolicyContract("arm", "task", (STATE,), ACTION, Chunk(horizon=2, num_obs_steps=2))

POSE_UNIT = "m,m,m,1,1,1,1"
TOOL = Feature("observation.tool_pose", "pose", (7,), POSE_COMPONENTS, unit=POSE_UNIT, frame="base", source="tool")
CUBE = Feature("observation.cube_pose", "pose", (7,), POSE_COMPONENTS, unit=POSE_UNIT, frame="base", source="cube")
POSE = Feature("action", "pose", (8,), (*POSE_COMPONENTS, "grip"), unit=f"{POSE_UNIT},m", frame="base", source="tool")
POSES = PolicyContract("arm", "task", (STATE, CUBE, TOOL), POSE, Chunk(horizon=3, num_obs_steps=2))

# Two observation steps; the newest has grip 0.03, a = 10, b = 20.
WINDOW = {"observation.state": torch.tensor([[[0.01, 1.0, 2.0], [0.03, 10.0, 20.0]]])}
ABSOLUTE = torch.tensor([[[11.0, 22.0, 0.04], [12.0, 24.0, 0.00]]])
RELATIVE = torch.tensor([[[1.0, 2.0, 0.04], [2.0, 4.0, 0.00]]])
DELTA = torch.tensor([[[1.0, 2.0, 0.04], [1.0, 2.0, 0.00]]])

HALF = math.sqrt(0.5)
# The tool at (1, 2, 3), turned by 90 degrees about z: its x axis is the base's y axis.
QUARTER_TURN = torch.tensor([[[0.0] * 7, [1.0, 2.0, 3.0, HALF, 0.0, 0.0, HALF]]])


@pytest.mark.parametrize(("kind", "inside"), [("absolute", ABSOLUTE), ("relative", RELATIVE), ("delta", DELTA)])
def test_joints_are_matched_by_name_to_the_newest_observation(kind, inside):
    representation = ActionRepresentation(CONTRACT, kind)
    assert representation.size == 3
    assert torch.equal(representation.encode(ABSOLUTE, WINDOW), inside)
    assert torch.equal(representation.decode(inside, WINDOW), ABSOLUTE)


def test_pose_relative_to_a_turned_tool_by_hand():
    representation = ActionRepresentation(POSES, "relative")
    # 0.1 m along the base's y axis is 0.1 m along the tool's x axis; the second row turns on to half a turn about z.
    rows = [[1.0, 2.1, 3.0, HALF, 0.0, 0.0, HALF, 0.04], [0.9, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    inside = [[0.1, 0.0, 0.0, 1, 0, 0, 0, 1, 0, 0.04], [0.0, 0.1, 0.0, 0, 1, 0, -1, 0, 0, 0.0]]
    encoded = representation.encode(torch.tensor([rows]), {TOOL.name: QUARTER_TURN})
    torch.testing.assert_close(encoded, torch.tensor([inside]), atol=1e-6, rtol=0)
    decoded = representation.decode(torch.tensor([inside]), {TOOL.name: QUARTER_TURN})
    others = [0, 1, 2, 7]
    torch.testing.assert_close(decoded[..., others], torch.tensor([rows])[..., others], atol=1e-6, rtol=0)
    # At half a turn q and -q both have w = 0.
    assert _rotations_apart(decoded[..., 3:7], torch.tensor([rows])[..., 3:7]) < 1e-6


def test_pose_deltas_go_on_from_the_row_before():
    representation = ActionRepresentation(POSES, "delta")
    step = [0.1, 0.0, 0.0, 0, 1, 0, -1, 0, 0, 0.02]  # 0.1 m ahead, then turn left by a quarter
    decoded = representation.decode(torch.tensor([[step] * 3]), {TOOL.name: QUARTER_TURN})
    # From facing +y: to +y, then facing -x, then facing -y.
    places = torch.tensor([[1.0, 2.1, 3.0], [0.9, 2.1, 3.0], [0.9, 2.0, 3.0]])
    torch.testing.assert_close(decoded[0, :, :3], places, atol=1e-6, rtol=0)
    facing = quaternion_to_matrix(decoded[0, :, 3:7])[..., 0]
    torch.testing.assert_close(facing, torch.tensor([[-1.0, 0, 0], [0, -1.0, 0], [1.0, 0, 0]]), atol=1e-6, rtol=0)


def test_relative_poses_do_not_see_where_the_base_is():
    """A rigid motion of tool and actions together changes nothing inside."""
    random = np.random.default_rng(0)
    tool, action = _random_poses(random, 1, 2, 7), _random_poses(random, 1, 3, 8)
    turn, shift = _random_poses(random, 7)[3:], torch.tensor([0.3, -2.0, 1.0])

    def moved(pose: torch.Tensor) -> torch.Tensor:
        position = (quaternion_to_matrix(turn) @ pose[..., :3, None])[..., 0] + shift
        return torch.cat([position, _product(turn, pose[..., 3:7]), pose[..., 7:]], dim=-1)

    for kind in ("relative", "delta"):
        representation = ActionRepresentation(POSES, kind)
        here = representation.encode(action, {TOOL.name: tool})
        there = representation.encode(moved(action), {TOOL.name: moved(tool)})
        torch.testing.assert_close(here, there, atol=1e-5, rtol=0)


def test_sign_of_a_quaternion_says_nothing():
    random = np.random.default_rng(1)
    tool, action = _random_poses(random, 4, 2, 7), _random_poses(random, 4, 3, 8)
    flipped_tool, flipped = tool.clone(), action.clone()
    flipped_tool[..., 3:7] *= -1
    flipped[:, 1, 3:7] *= -1
    for kind in ("absolute", "relative", "delta"):
        representation = ActionRepresentation(POSES, kind)
        same = representation.encode(flipped, {TOOL.name: flipped_tool})
        torch.testing.assert_close(same, representation.encode(action, {TOOL.name: tool}), atol=1e-6, rtol=0)


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    w, v, x, u = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    v = v.expand_as(u)
    return torch.cat([w * x - (v * u).sum(-1, keepdim=True), w * u + x * v + torch.linalg.cross(v, u)], dim=-1)


def _random_poses(random: np.random.Generator, *shape: int) -> torch.Tensor:
    pose = torch.from_numpy(random.normal(size=shape).astype(np.float32))
    pose[..., 3:7] /= pose[..., 3:7].norm(dim=-1, keepdim=True)
    return pose


# -- round trips ----------------------------------------------------------------------------------

NUMBER = st.floats(-3, 3, width=32)
UNIT = st.sampled_from([0.0, 1.0, -1.0, HALF, 1e-4, -1e-7]) | st.floats(-1, 1, width=32)
QUATERNION = st.lists(UNIT, min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1)


@st.composite
def poses(draw, extra: int) -> list[float]:
    """Half turns, both signs of a quaternion and exact axes among them."""
    quaternion = np.array(draw(QUATERNION))
    numbers = draw(st.lists(NUMBER, min_size=3 + extra, max_size=3 + extra))
    return [*numbers[:3], *(quaternion / np.linalg.norm(quaternion)), *numbers[3:]]


@st.composite
def pose_chunks(draw) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    rows = [draw(poses(1)) for _ in range(3)]
    if draw(st.booleans()):
        rows = [rows[0]] * 3  # nothing varies
    tool = [draw(poses(0)) for _ in range(2)]
    return torch.tensor([rows], dtype=torch.float32), {TOOL.name: torch.tensor([tool], dtype=torch.float32)}


@st.composite
def joint_chunks(draw) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    numbers = [draw(st.lists(NUMBER, min_size=3, max_size=3)) for _ in range(4)]
    if draw(st.booleans()):
        numbers[1] = numbers[0]
    return torch.tensor([numbers[:2]]), {STATE.name: torch.tensor([numbers[2:]])}


def _normalized(contract: PolicyContract, kind: str, mode: str, chunk, window):
    """Representation and a normaliser fitted to this one chunk: every per-row statistic has zero range."""
    actions = ActionRepresentation(contract, kind)
    normalizer = Normalizer(contract, mode, 0.05, actions)
    inside = actions.encode(chunk, window).numpy()
    found = feature_statistics(inside if actions.row_shape else inside.reshape(-1, actions.size))
    statistics = {f.name: feature_statistics(np.ones((2, *f.shape))) for f in contract.observations}
    normalizer.fit({**statistics, "action": found})
    return actions, normalizer


def _rotations_apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((quaternion_to_matrix(a) - quaternion_to_matrix(b)).abs().max())


@pytest.mark.parametrize("kind", ["absolute", "relative", "delta"])
@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, deadline=None)
@given(example=pose_chunks())
def test_pose_round_trips_both_ways(kind, mode, example):
    chunk, window = example
    actions, normalizer = _normalized(POSES, kind, mode, chunk, window)
    assert actions.size == 10

    def encode(value):
        return normalizer.normalize("action", actions.encode(value, window))

    def decode(value):
        return actions.decode(normalizer.denormalize("action", value), window)

    inside = encode(chunk)
    assert torch.isfinite(inside).all()
    back = decode(inside)
    assert (back[..., 3] >= 0).all()
    others = [0, 1, 2, 7]
    torch.testing.assert_close(back[..., others], chunk[..., others], atol=5e-5, rtol=1e-5)
    assert _rotations_apart(back[..., 3:7], chunk[..., 3:7]) < 1e-5
    torch.testing.assert_close(encode(back), inside, atol=2e-3, rtol=1e-5)  # divided by a spread of 0.05
    torch.testing.assert_close(back[..., 3:7].norm(dim=-1), torch.ones(1, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["absolute", "relative", "delta"])
@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=25, deadline=None)
@given(example=joint_chunks())
def test_joint_round_trips_both_ways(kind, mode, example):
    chunk, window = example
    actions, normalizer = _normalized(CONTRACT, kind, mode, chunk, window)
    inside = normalizer.normalize("action", actions.encode(chunk, window))
    back = actions.decode(normalizer.denormalize("action", inside), window)
    torch.testing.assert_close(back, chunk, atol=1e-5, rtol=1e-5)
    again = normalizer.normalize("action", actions.encode(back, window))
    torch.testing.assert_close(again, inside, atol=5e-4, rtol=1e-5)


# -- choices --------------------------------------------------------------------------------------


def test_auto_is_the_best_that_the_contract_allows():
    blind = PolicyContract("arm", "task", (Feature("observation.x", "vector", (1,)),), ACTION)
    no_tool = PolicyContract("arm", "task", (STATE, CUBE), POSE)
    box = PolicyContract("gym", "task", (STATE,), Feature("action", "vector", (2,)))
    found = [ActionRepresentation(c, "auto").kind for c in (CONTRACT, POSES, blind, no_tool, box)]
    assert found == ["relative", "relative", "absolute", "absolute", "absolute"]


def test_only_what_differs_from_the_stored_action_needs_statistics_of_its_own():
    assert ActionRepresentation(CONTRACT, "absolute").stored
    assert not ActionRepresentation(CONTRACT, "relative").stored
    assert not ActionRepresentation(POSES, "absolute").stored  # quaternions inside are six numbers


def test_what_cannot_be_relative_is_refused():
    with pytest.raises(ConfigError, match="absolute, relative"):
        ActionRepresentation(CONTRACT, "relativ")
    blind = PolicyContract("arm", "task", (Feature("observation.x", "vector", (1,)),), ACTION)
    with pytest.raises(ContractError, match="positions of a, b among the observations, and there are observation.x"):
        ActionRepresentation(blind, "relative")
    box = PolicyContract("arm", "task", (STATE,), Feature("action", "vector", (2,)))
    with pytest.raises(ContractError, match="policy.actions=absolute"):
        ActionRepresentation(box, "delta")
    elsewhere = PolicyContract("arm", "task", (CUBE,), POSE)
    with pytest.raises(ContractError, match="pose of 'tool' in frame 'base' among .* observation.cube_pose"):
        ActionRepresentation(elsewhere, "relative")
    euler = Feature("action", "pose", (6,), ("x", "y", "z", "roll", "pitch", "yaw"))
    with pytest.raises(ContractError, match="roll.*it begins with x, y, z, qw"):
        ActionRepresentation(PolicyContract("arm", "task", (TOOL,), euler), "absolute")

"""Tool poses as actions: forward kinematics against MuJoCo, inverse kinematics there and back, what cannot be reached."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from praxon.contract import Chunk, Feature, Observation, PolicyContract
from praxon.errors import ContractError
from praxon.robots.cartesian import CartesianAgent, ToolPoses, pose_action, tool_pose_feature
from praxon.robots.panda import PANDA

STATE = Feature("observation.state", "joint_position", (8,), PANDA.joint_names, unit=PANDA.unit)
CONTRACT = PolicyContract("panda", "task", (STATE,), pose_action(PANDA), Chunk(control_period_s=0.05))
LIMITS = PANDA.limit("lower"), PANDA.limit("upper")


class Rows:
    """An agent that asks for the same rows at every tick."""

    def __init__(self, rows):
        self.rows = rows
        self.seed = None

    def reset(self, seed):
        self.seed = seed

    def act(self, observation):
        return None if self.rows is None else np.atleast_2d(self.rows)


def cartesian(wanted, rows: int = 1) -> CartesianAgent:
    return CartesianAgent(Rows(wanted), PANDA, CONTRACT, rows)


def observed(positions) -> Observation:
    return Observation(0, {"observation.state": np.asarray(positions, np.float32)})


def near_home(random, spread: float) -> np.ndarray:
    positions = np.array(PANDA.home)
    positions[:7] += random.uniform(-spread, spread, 7)
    positions[7] = random.uniform(0, 0.04)
    return np.clip(positions, *LIMITS)


def apart(one, other) -> tuple[float, float]:
    """Metres and radians between two poses, whatever the quaternions' signs."""
    turn = 2 * np.arccos(np.clip(abs(one[3:7] @ other[3:7]), 0, 1))
    return float(np.linalg.norm(one[:3] - other[:3])), float(turn)


def test_poses_are_those_of_the_model():
    model = PANDA.build("own").compile()
    data, poses, random = mujoco.MjData(model), ToolPoses(PANDA), np.random.default_rng(0)
    for _ in range(20):
        positions = near_home(random, 1.0)
        for joint, position in zip(PANDA.joints, positions, strict=True):
            for name in (joint.name, *joint.mimics):
                data.joint(name).qpos = position
        mujoco.mj_kinematics(model, data)
        site, quaternion = data.site(PANDA.tool_site), np.empty(4)
        mujoco.mju_mat2Quat(quaternion, site.xmat)
        action = poses.action(positions)
        expected = np.concatenate([site.xpos, quaternion if quaternion[0] >= 0 else -quaternion])
        np.testing.assert_allclose(action[:7], expected, atol=1e-9)
        assert action[7] == positions[7]
        assert action[3] >= 0


def test_the_way_there_and_back():
    """Joints -> pose -> joints from elsewhere -> the same pose, on either sign of the quaternion and any length of it."""
    random, poses = np.random.default_rng(1), ToolPoses(PANDA)
    for _ in range(20):
        here = near_home(random, 0.3)
        wanted = poses.action(near_home(random, 0.3))
        agent = cartesian(wanted * np.array([1, 1, 1, -0.5, -0.5, -0.5, -0.5, 1]))
        joints = agent.act(observed(here))[0]
        assert ((joints >= LIMITS[0]) & (joints <= LIMITS[1])).all()
        metres, radians = apart(poses.action(joints), wanted)
        assert metres < 1e-4
        assert radians < 1e-3
        assert joints[7] == wanted[7]
        assert agent.unreached.missed == 0


def test_where_the_elbow_is_changes_slowly():
    """Asked for the pose it has, the tool stays, and the joints drift home no faster than they may."""
    random, poses = np.random.default_rng(2), ToolPoses(PANDA)
    drift = CartesianAgent.POSTURE_RAD_S * 0.05
    for _ in range(10):
        here = near_home(random, 0.4).astype(np.float32).astype(np.float64)
        joints = cartesian(poses.action(here)).act(observed(here))[0]
        assert apart(poses.pose(joints), poses.pose(here))[0] < 1e-4
        assert np.abs(joints - here)[:7].max() <= np.sqrt(7) * drift


def test_neighbouring_poses_have_neighbouring_joints():
    poses = ToolPoses(PANDA)
    positions = np.array(PANDA.home)
    pose, before = poses.action(positions), None
    for shift in np.linspace(0, 0.2, 41):
        wanted = pose.copy()
        wanted[1] += shift
        positions = cartesian(wanted).act(observed(positions))[0]
        if before is not None:
            assert np.abs(positions - before).max() < 0.05  # 5 mm sideways, at half a metre: a hundredth
        before = positions


def test_out_of_reach_is_the_nearest_that_is_found_and_counted():
    wanted = ToolPoses(PANDA).action(np.array(PANDA.home))
    wanted[:3] = (2.0, 0.0, 0.4)  # the arm is 0.855 m long
    positions, agent = np.array(PANDA.home), cartesian(wanted)
    for _ in range(5):
        positions = agent.act(observed(positions))[0]
        assert np.isfinite(positions).all()
        assert ((positions >= LIMITS[0] - 1e-9) & (positions <= LIMITS[1] + 1e-9)).all()
    assert agent.unreached.missed == agent.unreached.poses == 5
    assert 0.9 < agent.unreached.worst_m < 1.6
    tool = ToolPoses(PANDA).pose(positions)
    assert tool[0] > 0.7  # stretched toward it
    agent.reset(3)
    assert agent.unreached.poses == 0
    assert agent.agent.seed == 3


def test_each_row_starts_from_the_one_before():
    poses = ToolPoses(PANDA)
    rows = np.repeat(poses.action(np.array(PANDA.home))[None], 4, axis=0)
    rows[:, 0] += 0.01 * np.arange(4)
    joints = cartesian(rows, rows=3).act(observed(PANDA.home))
    assert joints.shape == (3, 8)
    for row, wanted in zip(joints, rows, strict=False):
        assert apart(poses.action(row), wanted)[0] < 1e-4
    assert cartesian(rows).act(observed(PANDA.home)).shape == (1, 8)
    assert cartesian(None).act(observed(PANDA.home)) is None


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0])
def test_what_is_no_pose_is_passed_on_as_no_number(broken):
    wanted = ToolPoses(PANDA).action(np.array(PANDA.home))
    wanted[3:7] = broken
    agent = cartesian(wanted)
    assert np.isnan(agent.act(observed(PANDA.home))).all()
    assert agent.unreached.poses == 0


def test_joints_are_found_by_name():
    order = np.arange(8)[::-1]
    turned = replace(STATE, names=tuple(PANDA.joint_names[i] for i in order), unit="1")
    contract = replace(CONTRACT, observations=(turned,))
    wanted = ToolPoses(PANDA).action(np.array(PANDA.home))
    here = Observation(0, {"observation.state": np.array(PANDA.home, np.float32)[order]})
    joints = CartesianAgent(Rows(wanted), PANDA, contract).act(here)[0]
    np.testing.assert_allclose(joints, cartesian(wanted).act(observed(PANDA.home))[0], atol=1e-9)


def test_what_does_not_fit_the_robot_is_refused():
    elsewhere = replace(CONTRACT, action=replace(CONTRACT.action, frame="world"))
    with pytest.raises(ContractError, match="not a pose of the tool 'tool' of 'panda' in 'panda_link0'"):
        CartesianAgent(Rows(None), PANDA, elsewhere)
    blind = replace(CONTRACT, observations=(tool_pose_feature(PANDA),))
    with pytest.raises(ContractError, match=r"positions of all its joints.*observation.tool_pose"):
        CartesianAgent(Rows(None), PANDA, blind)

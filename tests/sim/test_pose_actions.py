"""Demonstrations recorded as tool poses: what is recorded, that it leads to the same success, and a policy in between."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml

from praxon.datasets.joined import JoinedWindows, joined_statistics
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.windows import Windows
from praxon.errors import ConfigError
from praxon.learning.fitting import fit_normalizer
from praxon.policies.agent import ChunkAgent
from praxon.policies.build import build_policy
from praxon.policies.torch_runtime import TorchRuntime
from praxon.robots.cartesian import ToolPoses
from praxon.sim.factory import make_simulation
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import record_episode
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.targets import load_option

SEEDS = episode_seeds(Purpose.COLLECT, 3, 3)


def recorded(simulation, seed):
    agent = PerturbedAgent(simulation.expert(), simulation.push_heights(0.0, 0.0), 0.05)
    return record_episode(simulation, agent, seed, linger_s=0.2)


class Playback:
    """Rows of a recording, one each tick, whatever is seen."""

    def __init__(self, rows):
        self.rows, self.next = rows, 0

    def reset(self, seed):
        self.next = 0

    def act(self, observation):
        row = self.rows[min(self.next, len(self.rows) - 1)]
        self.next += 1
        return row[None].astype(np.float64)


@pytest.fixture(scope="module")
def simulation():
    return make_simulation("pick_place", action="pose")


def test_recorded_poses_are_where_the_joint_targets_send_the_tool(simulation):
    joints, poses = recorded(make_simulation("pick_place"), SEEDS[0]), recorded(simulation, SEEDS[0])
    kinematics = ToolPoses(simulation.scene.robot)
    assert np.array_equal(joints.frames["observation.state"], poses.frames["observation.state"])
    expected = np.array([kinematics.action(row) for row in joints.frames["action"].astype(np.float64)])
    signs = np.sign((expected[:, 3:7] * poses.frames["action"][:, 3:7]).sum(1))  # at w = 0 rounding decides
    expected[:, 3:7] *= signs[:, None]
    np.testing.assert_allclose(poses.frames["action"], expected, atol=1e-6)
    seen = np.array([kinematics.pose(row) for row in joints.frames["observation.state"].astype(np.float64)])
    np.testing.assert_allclose(poses.frames["observation.tool_pose"][:, :3], seen[:, :3], atol=1e-6)


def test_tool_pose_is_where_the_tool_is(simulation):
    simulation.reset(SEEDS[0])
    pose = simulation.robot.observe().features["observation.tool_pose"]
    np.testing.assert_allclose(pose[:3], simulation.scene.tool_position(), atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_played_back_through_inverse_kinematics_a_demonstration_succeeds(simulation, seed):
    demonstration = recorded(simulation, seed)
    assert demonstration.result.success
    result = simulation.run(simulation.performer(Playback(demonstration.frames["action"])), seed)
    assert result.success
    assert result.metrics["ik_missed"] == 0
    assert result.metrics["ik_worst_m"] < 1e-4
    assert result.metrics["ik_worst_rad"] < 1e-3


def test_joint_actions_are_performed_as_they_are():
    simulation = make_simulation("reach", tool_pose=True)
    assert "observation.tool_pose" in [feature.name for feature in simulation.contract.observations]
    agent = Playback(np.zeros((1, 8)))
    assert simulation.performer(agent) is agent
    with pytest.raises(ConfigError, match=r"'poses'.*joint_position, pose.*Did you mean 'pose'"):
        make_simulation("reach", action="poses")


@pytest.fixture(scope="module")
def dataset(simulation, tmp_path_factory):
    root = tmp_path_factory.mktemp("poses") / "dataset"
    with LeRobotWriter(root, simulation.contract, "carry", "panda") as writer:
        for seed in SEEDS[:2]:
            demonstration = recorded(simulation, seed)
            writer.add_episode(demonstration.frames, demonstration.stamps_ns)
    return LeRobotDataset(root)


@pytest.mark.parametrize("actions", ["auto", "absolute", "delta"])
def test_a_policy_of_poses_from_recording_to_motion(simulation, dataset, actions):
    torch.manual_seed(0)
    config = load_option("policy", "debug") | {"actions": actions}
    policy = build_policy(yaml.safe_load(yaml.safe_dump(config)), dataset.contract)
    assert policy.actions.kind == ("relative" if actions == "auto" else actions)
    windows = Windows(dataset, policy.contract.chunk, contract=policy.contract)
    fit_normalizer(policy, joined_statistics([windows]), JoinedWindows([windows]))
    assert policy.normalizer.fitted

    # Over the data themselves every component but rotations left alone has unit spread, or less where it is held up.
    batch = {name: torch.from_numpy(value) for name, value in windows.batch(np.arange(len(windows))).items()}
    inside = policy.encode_actions(batch)
    assert inside.shape[1:] == (policy.contract.chunk.horizon, 10)
    spread = inside.std(dim=0) if policy.actions.row_shape else inside.flatten(0, 1).std(dim=0)[None]
    free = [i for i, group in enumerate(policy.actions.groups) if group == "position"]
    assert (spread < 1.01).all()
    assert (spread[-1, free] > 0.2).all()  # steps of a few millimetres beside a floor of ten
    back = policy.decode_actions(inside, batch)
    torch.testing.assert_close(back[..., :3], batch["action"][..., :3], atol=1e-5, rtol=0)

    policy.eval()
    agent = ChunkAgent(TorchRuntime(policy), simulation.contract)
    positions: list[np.ndarray] = []
    simulation.step_limit, limit = 12, simulation.step_limit
    try:
        result = simulation.run(
            simulation.performer(agent), 5, [lambda tick: positions.append(tick.command.positions[0])]
        )
    finally:
        simulation.step_limit = limit
    assert result.steps == 12
    assert {"ik_missed", "ik_worst_m", "ik_worst_rad"} <= set(result.metrics)
    reach = simulation.scene.robot.limit("velocity") * 0.05 + 1e-9
    assert all((np.abs(after - before) <= reach).all() for before, after in pairwise(positions))  # never a jump

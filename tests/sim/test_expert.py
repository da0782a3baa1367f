"""The tool controller and the perturbation: poses reached, and noise with the spread it claims."""

import numpy as np
import pytest

from praxon.robots.panda import PANDA
from praxon.sim.expert import ToolControl, ToolTarget, square_grasp_yaw
from praxon.sim.factory import make_simulation
from praxon.sim.perturbation import PerturbedAgent


def test_following_the_targets_reaches_the_pose():
    control = ToolControl(PANDA, 0.05)
    positions = np.array(PANDA.home)
    target = ToolTarget(np.array([0.55, 0.15, 0.2]), yaw=0.4, gripper=0.01)
    for _ in range(60):
        positions = control.toward(positions, target)
    tool, yaw = control.tool_pose(positions)
    assert np.linalg.norm(tool - target.position) < 1e-3
    assert yaw == pytest.approx(0.4, abs=0.01)
    assert positions[-1] == 0.01


def test_steps_are_bounded_by_the_speed():
    control = ToolControl(PANDA, 0.05)
    positions = np.array(PANDA.home)
    target = ToolTarget(np.array([0.6, 0.3, 0.2]), yaw=0.0, gripper=0.04, speed=0.2)
    before, _ = control.tool_pose(positions)
    after, _ = control.tool_pose(control.toward(positions, target))
    assert np.linalg.norm(after - before) == pytest.approx(0.2 * control.lead_s, rel=0.15)


@pytest.mark.parametrize("degrees", [0, 30, -30, 44, 60, 135])
def test_a_square_is_grasped_within_45_degrees(degrees):
    half = np.radians(degrees) / 2
    yaw = square_grasp_yaw(np.array([0, 0, 0, np.cos(half), 0, 0, np.sin(half)]))
    assert abs(yaw) <= np.pi / 4 + 1e-9
    assert (np.degrees(yaw) - degrees) % 90 == pytest.approx(0, abs=1e-6) or (
        np.degrees(yaw) - degrees
    ) % 90 == pytest.approx(90)


class Constant:
    """An expert that always asks for home."""

    def reset(self, seed):
        pass

    def act(self, observation):
        return np.array(PANDA.home)[None]


def test_pushes_have_their_height_and_leave_the_intention_and_the_gripper_alone():
    heights = make_simulation("reach").push_heights(joint_rad=0.02, box_share=1.0)
    agent = PerturbedAgent(Constant(), heights, period_s=0.05, rate_hz=0.6, duration_s=0.4)
    agent.reset(0)
    actions = np.stack([agent.act(None)[0] for _ in range(40_000)])
    noise = actions - np.array(PANDA.home)
    assert (noise[:, 7] == 0).all()
    assert np.array_equal(agent.intended, PANDA.home)
    pushed = (noise[:, 0] != 0).mean()
    # 8 ticks of a push, then on average 1 / 0.03 ticks until the next begins.
    assert pushed == pytest.approx(8 / (8 + 1 / 0.03 - 1), rel=0.1)
    rms = np.sqrt((noise[noise[:, 0] != 0, :7] ** 2).mean(axis=0))
    assert rms == pytest.approx(0.02 / np.sqrt(2), rel=0.1)
    agent.reset(0)
    assert np.array_equal(np.stack([agent.act(None)[0] for _ in range(100)]), actions[:100])

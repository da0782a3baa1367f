"""Replaying a recorded motion: a simulation that begins where it is told, and an agent that follows a tool path."""

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from praxon.contract import Observation
from praxon.robots.spec import RobotSpec
from praxon.sim.episode import Simulation
from praxon.sim.expert import ToolControl, ToolTarget
from praxon.sim.tool_path import ToolPath

_PATIENCE = 1.25
"""Times the demonstration's own lead that the next row may be ahead of the tool before the path waits."""


@dataclass(frozen=True)
class Start:
    """Where an episode begins, everything at rest.

    Args:
        positions: (num_joints,) of the robot [rad or m].
        poses: (x, y, z, qw, qx, qy, qz) of the task's objects in the base frame, by body.
    """

    positions: np.ndarray
    poses: Mapping[str, np.ndarray]


class Replay(Simulation):
    """A simulation whose episodes begin at ``begin``, set before ``run``; everything else is the task's own.

    Bodies that are not observed lie where the task's ``place`` puts them.
    """

    begin: Start

    def reset(self, seed: int) -> np.ndarray:
        """Begin at ``begin``; returns the joint positions (num_joints,) at which the robot stands."""
        self._place(self.begin.positions, np.random.default_rng(seed))
        for body, pose in self.begin.poses.items():
            self.scene.place(body, pose[:3], pose[3:])
        mujoco.mj_forward(self.scene.model, self.scene.data)
        self.robot.reset(self.begin.positions)
        return self.begin.positions

    def drawn(self, positions: np.ndarray, rng: np.random.Generator) -> Start:
        """A start as the task draws it, the robot at ``positions`` (num_joints,)."""
        self._place(positions, rng)
        mujoco.mj_kinematics(self.scene.model, self.scene.data)
        return Start(positions, {body: self.scene.pose(self.scene.body(body)) for body in self.task.objects})

    def _place(self, positions: np.ndarray, rng: np.random.Generator) -> None:
        self.scene.reset(positions)
        mujoco.mj_kinematics(self.scene.model, self.scene.data)
        self.task.place(self.scene, rng)


class PathControl(ToolControl):
    """The expert's inverse kinematics, all the way to the target in one tick: the path holds the speed already."""

    ANGULAR_SPEED = np.inf
    APPROACH = 1.0


class PathAgent:
    """Sends the tool along a path, one row each tick, and stays at its end.

    Each joint target is solved for from the measured joints, as the experts' are, so that the arm's free motion is
    theirs too. The path waits for an arm that falls behind: to run after it at full speed would overshoot.

    Args:
        robot: who moves.
        period_s: control period [s].
    """

    def __init__(self, robot: RobotSpec, period_s: float) -> None:
        self.control = PathControl(robot, period_s)
        self.path: ToolPath | None = None
        """What to follow; set before an episode."""
        self.deviation_m = 0.0
        """How far the tool has been off the path since ``reset``, at most [m]."""
        self._row = 0

    def reset(self, seed: int) -> None:
        """Back to the path's beginning; nothing is random."""
        self._row = 0
        self.deviation_m = 0.0

    def act(self, observation: Observation) -> np.ndarray | None:
        """(1, num_joints) joint targets for this tick."""
        if self.path is None:
            return None
        path = self.path
        positions = observation.features["observation.state"].astype(np.float64)
        tool, _ = self.control.tool_pose(positions)
        self.deviation_m = max(self.deviation_m, path.distance(tool, self._row))
        following = min(self._row + 1, len(path) - 1)
        if self._row == 0 or np.linalg.norm(path.positions[following] - tool) <= _PATIENCE * path.lead_m:
            self._row = following
        row = self._row
        target = ToolTarget(path.positions[row], float(path.yaws[row]), float(path.grippers[row]), speed=np.inf)
        return self.control.toward(positions, target)[None]

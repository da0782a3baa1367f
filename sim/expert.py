"""ScriptedExpert: demonstrates a task by moving the tool toward poses it derives from each observation alone.

Feedback on every tick, nothing replayed: pushed off its way, it continues from where it is. That is what makes it a
teacher for DAgger as well as a source of demonstrations.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import mink
import numpy as np

from praxon.contract import Observation
from praxon.robots.kinematics import ToolKinematics
from praxon.robots.spec import RobotSpec


@dataclass(frozen=True)
class ToolTarget:
    """Where the tool should go.

    Args:
        position: of the tool site in the base frame [m].
        yaw: rotation of the fingers about the vertical [rad]; 0 opens them along the base's y axis.
        gripper: target of the gripper joint [m].
        speed: largest speed of the tool [m/s].
        phase: of the task that this target belongs to, one of the expert's ``phases``; empty for experts without any.
    """

    position: np.ndarray
    yaw: float
    gripper: float
    speed: float = 0.35
    phase: str = ""


class ToolControl:
    """Joint targets that move the tool toward a pose at a bounded speed, tool axis pointing down.

    One differential inverse-kinematics solve per tick (mink: quadratic programme with joint limits) from the measured
    joints. ``lead_s`` is how far ahead of the measurement the target lies: the servos' lag plus one control period.
    """

    ANGULAR_SPEED = 2.0
    """Largest turning speed of the tool [rad/s]."""
    APPROACH = 0.7
    """Share of the remaining way covered per lead time near the target."""

    def __init__(self, robot: RobotSpec, period_s: float, lead_s: float | None = None) -> None:
        self.robot = robot
        lag_s = max(joint.damping / joint.stiffness for joint in robot.joints)
        self.lead_s = period_s + lag_s if lead_s is None else lead_s
        self._kinematics = ToolKinematics(robot)

    def tool_pose(self, positions: np.ndarray) -> tuple[np.ndarray, float]:
        """Position [m] and yaw [rad] of the tool at joint positions (num_joints,)."""
        pose = self._kinematics.tool(positions)
        rotation = pose.rotation().as_matrix()
        return pose.translation(), float(np.arctan2(rotation[1, 0], rotation[0, 0]))

    def toward(self, positions: np.ndarray, target: ToolTarget) -> np.ndarray:
        """Joint target (num_joints,) one lead time ahead on the way from ``positions`` to ``target``."""
        here, yaw = self.tool_pose(positions)
        way = target.position - here
        distance = float(np.linalg.norm(way))
        # Below the bounded speed the way left shrinks by a constant share per lead time, so that it stops without overshoot.
        reach = min(target.speed * self.lead_s, self.APPROACH * distance)
        position = here + way * (reach / max(distance, 1e-9))
        turn = _wrap(target.yaw - yaw)
        turn = float(np.clip(turn, -self.ANGULAR_SPEED * self.lead_s, self.ANGULAR_SPEED * self.lead_s))
        joints = self._kinematics.step(mink.SE3.from_rotation_and_translation(_downward(yaw + turn), position))
        if self.robot.gripper is not None:
            joints[self.robot.index(self.robot.gripper)] = target.gripper
        return joints


class ScriptedExpert(ABC):
    """An agent that turns each observation into a ``ToolTarget``; subclasses hold the task's plan in ``target``.

    Attributes:
        phases: names of the phases of the task, in their usual order; empty for experts that tell none.
    """

    phases: tuple[str, ...] = ()

    def __init__(self, robot: RobotSpec, period_s: float) -> None:
        self.robot = robot
        self.period_s = period_s
        self._phase = 0

    @property
    def phase(self) -> int:
        """Index into ``phases`` of the last tick."""
        return self._phase

    @cached_property
    def control(self) -> ToolControl:
        """Built at first use: compiling the kinematic model takes longer than an episode needs to know it."""
        return ToolControl(self.robot, self.period_s)

    def reset(self, seed: int) -> None:  # noqa: B027  (most have nothing to forget)
        """Scripted experts are deterministic; those with memory forget it here."""

    def act(self, observation: Observation) -> np.ndarray:
        """(1, num_joints) joint targets for this tick."""
        positions = observation.features["observation.state"].astype(np.float64)
        tool, yaw = self.control.tool_pose(positions)
        target = self.target(observation, tool, yaw)
        if self.phases:
            self._phase = self.phases.index(target.phase)
        return self.control.toward(positions, target)[None]

    @abstractmethod
    def target(self, observation: Observation, tool: np.ndarray, yaw: float) -> ToolTarget:
        """Where the tool should go now, given its position (3,) [m] and yaw [rad]."""


def yaw_of(pose: np.ndarray) -> float:
    """Rotation about the vertical of a pose (x, y, z, qw, qx, qy, qz) [rad]."""
    w, x, y, z = pose[3:]
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def square_grasp_yaw(pose: np.ndarray) -> float:
    """Yaw within 45 degrees of zero at which the fingers are parallel to the sides of a square object [rad]."""
    return float((yaw_of(pose) + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def _downward(yaw: float) -> mink.SO3:
    """The tool's z axis straight down, turned by ``yaw`` about the vertical."""
    return mink.SO3.from_z_radians(yaw) @ mink.SO3.from_x_radians(np.pi)


def _wrap(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)

"""RobotSpec: a robot as data. Joints and their limits, home pose, tool, cameras, workspace, and how its model is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np

from praxon.errors import RobotError, nearest


@dataclass(frozen=True)
class JointLimits:
    """What a joint may do. Units are rad or m by the joint's kind, per second to the order named.

    Args:
        lower, upper: position [rad] or [m].
        velocity, acceleration, jerk: largest magnitude of the commanded motion [rad/s^n] or [m/s^n].
        effort: largest actuator torque [N m] or force [N].
    """

    lower: float
    upper: float
    velocity: float
    acceleration: float
    jerk: float
    effort: float


@dataclass(frozen=True)
class Joint:
    """One commanded joint.

    Args:
        name: as in the robot's ``joint_states`` and in our model.
        limits: see ``JointLimits``.
        unit: "rad" or "m".
        stiffness: gain of the position servo in simulation [N m/rad] or [N/m].
        damping: its velocity gain [N m s/rad] or [N s/m].
        menagerie_name: the joint's name in MuJoCo Menagerie's model.
        mimics: joints that follow this one (the second finger of a parallel gripper), by name.
        menagerie_mimics: their names in Menagerie's model.
    """

    name: str
    limits: JointLimits
    unit: str
    stiffness: float
    damping: float
    menagerie_name: str
    mimics: tuple[str, ...] = ()
    menagerie_mimics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Workspace:
    """The box in the robot's base frame that the tool may not leave, corners in [m]."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]


@dataclass(frozen=True)
class RosInterface:
    """Where the robot listens and speaks.

    Args:
        trajectory_topic: JointTrajectory commands (joint_trajectory_controller).
        joint_states_topic: JointState reports.
    """

    trajectory_topic: str
    joint_states_topic: str = "joint_states"


@dataclass(frozen=True)
class RobotSpec:
    """A robot as data.

    Args:
        name: of the robot and of its config.
        joints: commanded joints in the order of actions and states.
        home: one position per joint [rad or m].
        base_frame: name of the frame in which poses are given.
        tool_site: name of the site between the fingertips in the model; its z axis points out of the hand.
        gripper: name of the gripper joint, or None.
        workspace: where the tool may be.
        self_distance_pairs: pairs of body names that must keep ``self_distance_m`` apart.
        self_distance_m: the distance they keep [m].
        cameras: names of the cameras in the model.
        ros: topics.
        model: path of our own MJCF.
        menagerie: (robot, entry point) in MuJoCo Menagerie.
    """

    name: str
    joints: tuple[Joint, ...]
    home: tuple[float, ...]
    base_frame: str
    tool_site: str
    gripper: str | None
    workspace: Workspace
    self_distance_pairs: tuple[tuple[str, str], ...]
    self_distance_m: float
    cameras: tuple[str, ...]
    ros: RosInterface
    model: str
    menagerie: tuple[str, str]

    def __post_init__(self) -> None:
        if len(self.home) != len(self.joints):
            raise RobotError(f"Robot '{self.name}' has {len(self.joints)} joints but a home pose of {len(self.home)}.")
        for joint, position in zip(self.joints, self.home, strict=True):
            if not joint.limits.lower <= position <= joint.limits.upper:
                raise RobotError(f"Home of joint '{joint.name}' of '{self.name}' is {position}, outside its limits.")
        if self.gripper is not None:
            self.index(self.gripper)

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Commanded joints in order."""
        return tuple(joint.name for joint in self.joints)

    @property
    def unit(self) -> str:
        """Units of the joint vector, one for each joint."""
        return ",".join(joint.unit for joint in self.joints)

    def index(self, name: str) -> int:
        """Position of a joint in the joint vector; ``RobotError`` lists the joints there are."""
        if name not in self.joint_names:
            raise RobotError(
                f"Joint '{name}' is not in robot '{self.name}'.{nearest(name, self.joint_names)} "
                f"Joints: {', '.join(self.joint_names)}."
            )
        return self.joint_names.index(name)

    def limit(self, quantity: str) -> np.ndarray:
        """One limit of every joint as an array: 'lower', 'upper', 'velocity', 'acceleration', 'jerk' or 'effort'."""
        return np.array([getattr(joint.limits, quantity) for joint in self.joints])

    def vector(self, positions: Mapping[str, float]) -> np.ndarray:
        """Joint vector from positions by name, (num_joints,); a missing joint is an error, an extra one is ignored."""
        missing = [name for name in self.joint_names if name not in positions]
        if missing:
            raise RobotError(f"Joint positions of '{self.name}' lack {', '.join(missing)}; got {', '.join(positions)}.")
        return np.array([positions[name] for name in self.joint_names])

    def build(self, source: str = "own") -> mujoco.MjSpec:
        """The robot's model with servos built from this specification, base at the origin.

        Args:
            source: 'own' for our mesh-free model, 'menagerie' for MuJoCo Menagerie's.
        """
        from praxon.robots.model import build_model

        return build_model(self, source)

"""Tool poses as actions: what joints command in terms of the tool, and an agent's tool poses turned into joint targets.

A pose action is (x, y, z, qw, qx, qy, qz) of the tool site in the base frame [m], followed by the gripper's joint where there
is one [m]. Between the agent and the safety filter it becomes joint targets by inverse kinematics; nothing else changes.
"""

from dataclasses import dataclass, replace

import mink
import numpy as np

from praxon.contract import POSE_COMPONENTS, Feature, Observation, PolicyContract
from praxon.errors import ContractError, RobotError
from praxon.robots.base import Agent
from praxon.robots.kinematics import ToolKinematics
from praxon.robots.spec import RobotSpec

_POSE = len(POSE_COMPONENTS)


def tool_pose_feature(robot: RobotSpec) -> Feature:
    """The observed pose of the tool, ``observation.tool_pose``."""
    return Feature(
        name="observation.tool_pose",
        kind="pose",
        shape=(_POSE,),
        names=POSE_COMPONENTS,
        unit="m,m,m,1,1,1,1",
        frame=robot.base_frame,
        source=robot.tool_site,
    )


def pose_action(robot: RobotSpec) -> Feature:
    """The commanded pose of the tool, and the gripper's joint where there is one."""
    tool = replace(tool_pose_feature(robot), name="action")
    if robot.gripper is None:
        return tool
    unit = robot.joints[robot.index(robot.gripper)].unit
    return replace(tool, shape=(_POSE + 1,), names=(*tool.names, robot.gripper), unit=f"{tool.unit},{unit}")


class ToolPoses:
    """Joint positions -> tool poses, as features carry them.

    Args:
        robot: whose tool.
    """

    def __init__(self, robot: RobotSpec) -> None:
        self._kinematics = ToolKinematics(robot)
        self._gripper = [] if robot.gripper is None else [robot.index(robot.gripper)]

    def pose(self, positions: np.ndarray) -> np.ndarray:
        """The tool's pose (7,) at joint positions (num_joints,); qw >= 0."""
        wxyz_xyz = self._kinematics.tool(np.asarray(positions, np.float64)).wxyz_xyz
        quaternion = wxyz_xyz[:4] / np.linalg.norm(wxyz_xyz[:4])
        return np.concatenate([wxyz_xyz[4:], quaternion if quaternion[0] >= 0 else -quaternion])

    def action(self, positions: np.ndarray) -> np.ndarray:
        """The pose action that commands what these joint targets (num_joints,) do."""
        return np.concatenate([self.pose(positions), np.asarray(positions)[self._gripper]])


@dataclass
class Unreached:
    """Commanded poses that inverse kinematics did not reach in an episode.

    Args:
        poses: how many were solved for.
        missed: how many of them the nearest solution misses by more than the tolerance.
        worst_m: the largest distance it left [m].
        worst_rad: the largest angle [rad].
    """

    poses: int = 0
    missed: int = 0
    worst_m: float = 0.0
    worst_rad: float = 0.0


class CartesianAgent:
    """Lets an agent that commands tool poses drive a robot that takes joint targets.

    Every row is solved for from the row before it, the first from the measured joints, so that what is commanded depends on
    the observation alone. What the pose leaves free, where the elbow is, moves toward the home posture at a bounded speed:
    neighbouring poses have neighbouring joints. A pose that cannot be reached becomes the nearest one that is found, and is
    counted; a step of the joints that is too large is the safety filter's to bound, as for every agent.

    Args:
        agent: rows of its actions are pose actions.
        robot: who moves.
        contract: offered by the robot: its action is a pose, and all joint positions are observed.
        rows: of an action that are solved for; robots with a preview want more than the first.

    Raises:
        ContractError: the action is not this robot's tool pose, or the joints are not observed.
    """

    ITERATIONS = 12
    """Inverse steps for a row at most; from one tick to the next two are usual."""
    TOLERANCE_M = 1e-3
    TOLERANCE_RAD = 1e-2
    """What counts as reached; iterations go on to a hundredth of it."""
    STRIDE_M, STRIDE_RAD = 0.15, 0.5
    """How far toward the pose one inverse step is sent: beyond, the arm's kinematics are not those where it stands."""
    POSTURE_RAD_S = 1.0
    """How fast the joints may drift toward home where the tool does not care [rad/s]."""

    def __init__(self, agent: Agent, robot: RobotSpec, contract: PolicyContract, rows: int = 1) -> None:
        expected = pose_action(robot)
        if replace(contract.action, name=expected.name) != expected:
            raise ContractError(
                f"The action '{contract.action.name}' is not a pose of the tool '{robot.tool_site}' of '{robot.name}' in "
                f"'{robot.base_frame}' with components {', '.join(expected.names)}; it has kind "
                f"'{contract.action.kind}' and components {', '.join(contract.action.names)}."
            )
        measured = (f for f in contract.observations if f.kind == "joint_position" and not f.is_goal)
        joints = next((f for f in measured if set(robot.joint_names) <= set(f.names)), None)
        if joints is None:
            raise ContractError(
                f"Pose actions of '{robot.name}' are solved for from the positions of all its joints; no observation "
                f"holds them. There are: {', '.join(f.name for f in contract.observations)}."
            )
        self.agent, self.rows, self.unreached = agent, rows, Unreached()
        self._robot = robot
        self._joints = joints.name
        self._order = np.array([joints.names.index(name) for name in robot.joint_names])
        self._gripper = [] if robot.gripper is None else [robot.index(robot.gripper)]
        self._kinematics = ToolKinematics(robot, posture_cost=3e-3, damping=1e-9)
        self._home = np.array(robot.home)
        self._drift = self.POSTURE_RAD_S * contract.chunk.control_period_s

    def reset(self, seed: int) -> None:
        """Start an episode and its counts."""
        self.agent.reset(seed)
        self.unreached = Unreached()

    def act(self, observation: Observation) -> np.ndarray | None:
        """(rows, num_joints) joint targets, fewer where the agent gave fewer; not numbers where it gave none."""
        actions = self.agent.act(observation)
        if actions is None:
            return None
        positions = observation.features[self._joints][self._order].astype(np.float64)
        found = []
        for action in actions[: self.rows]:
            positions = self.solve(action, positions)
            found.append(positions)
        return np.stack(found)

    def solve(self, action: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Joint targets (num_joints,) of a pose action, from ``positions`` (num_joints,)."""
        length = np.linalg.norm(action[3:_POSE])
        if not (np.isfinite(action).all() and np.isfinite(positions).all() and length > 0):
            return np.full(len(positions), np.nan)  # refused by the safety filter, which says so
        target = mink.SE3(np.concatenate([action[3:_POSE] / length, action[:3]]))
        kinematics = self._kinematics
        kinematics.rest_at(positions + np.clip(self._home - positions, -self._drift, self._drift))
        here = np.clip(positions, self._robot.limit("lower"), self._robot.limit("upper"))
        for _ in range(self.ITERATIONS):
            tool = kinematics.tool(here)
            missed_m, missed_rad = _apart(tool, target)
            if missed_m < self.TOLERANCE_M / 100 and missed_rad < self.TOLERANCE_RAD / 100:
                break
            share = min(1.0, self.STRIDE_M / max(missed_m, 1e-9), self.STRIDE_RAD / max(missed_rad, 1e-9))
            try:
                there = kinematics.step(tool.interpolate(target, share))
            except RobotError:  # where it stands is then the nearest that is known
                break
            nearer = self._nearer(here, there, target)
            if nearer is None:
                break
            here = nearer
        missed_m, missed_rad = _apart(kinematics.tool(here), target)
        self._count(missed_m, missed_rad)
        here[self._gripper] = action[_POSE:]
        return here

    def _nearer(self, here: np.ndarray, there: np.ndarray, target: mink.SE3) -> np.ndarray | None:
        """As far from ``here`` toward ``there`` as the tool comes nearer to the target; None where it does not."""
        before = _cost(self._kinematics.tool(here), target)
        for share in (1.0, 0.5, 0.25, 0.125):
            joints = here + share * (there - here)
            if _cost(self._kinematics.tool(joints), target) < before:
                return joints
        return None

    def _count(self, missed_m: float, missed_rad: float) -> None:
        counted = self.unreached
        counted.poses += 1
        counted.missed += missed_m > self.TOLERANCE_M or missed_rad > self.TOLERANCE_RAD
        counted.worst_m, counted.worst_rad = max(counted.worst_m, missed_m), max(counted.worst_rad, missed_rad)


def _cost(tool: mink.SE3, target: mink.SE3) -> float:
    """What inverse kinematics makes small, with its weight of an angle beside a distance."""
    missed_m, missed_rad = _apart(tool, target)
    return missed_m**2 + (ToolKinematics.ORIENTATION_COST * missed_rad) ** 2


def _apart(one: mink.SE3, other: mink.SE3) -> tuple[float, float]:
    """Distance [m] and angle [rad] between two poses."""
    between = one.inverse() @ other
    return float(np.linalg.norm(between.translation())), float(np.linalg.norm(between.rotation().log()))

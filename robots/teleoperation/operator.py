"""OperatorAgent: what an operator's device says, as joint targets.

While the operator drives, a pose of the tool is moved by the velocity that was asked for, and each tick's joints are solved for
from those of the tick before. It begins where the tool is measured, so that nothing jumps, and never runs far ahead of it.
"""

import time
from collections.abc import Callable

import mink
import numpy as np

from praxon.contract import Observation, PolicyContract
from praxon.errors import ConfigError, ContractError, RobotError
from praxon.robots.base import SafeCommand
from praxon.robots.clearance import CAUSES
from praxon.robots.kinematics import ToolKinematics
from praxon.robots.spec import RobotSpec
from praxon.robots.teleoperation.intervention import Device, Gripper, Intervention, Mark


class OperatorAgent:
    """Turns a device's messages into joint targets.

    *Takeover.* The operator has control once ``takeover_ticks`` messages in a row asked for it, and until one does not.

    *Silence.* A message older than ``stale_s`` moves nothing: the arm holds, and control stays where it was. Where the policy has
    control nobody could take it then: ``silent`` tells whoever keeps the time.

    *At the edge* of the workspace the safety filter holds the arm back. The pose then goes on from where the arm was let go, and
    at a lower speed, for there the filter lets through only what every joint can do at once: so it comes off again.

    *Without control* it asks for what was commanded last: who is given control anyhow holds still.

    Args:
        robot: who moves.
        contract: of the world: the action is joint targets, and all joint positions are observed.
        device: which is opened.
        stale_s: age of a message from which on it moves nothing [s].
        takeover_ticks: control steps that control has to be asked for; fewer are an accidental touch.
        clock: that stamps are on [ns].

    Raises:
        ConfigError: no age or no tick.
        ContractError: the action is not joint targets, or the joints are not observed.
    """

    SPEED_M_S, SPEED_RAD_S = 0.35, 2.0
    """Fastest the tool is moved and turned, whatever a device says [m/s], [rad/s]; those of the scripted experts."""
    LEASH_M, LEASH_RAD = 0.06, 0.35
    """How far ahead of the measured tool the pose may run; lag takes less than that, a thing in the way more."""
    SLOWEST = 1 / 16
    """Share of the velocity that is asked for where the safety filter holds the arm back, halved from 1 tick by tick."""

    def __init__(
        self,
        robot: RobotSpec,
        contract: PolicyContract,
        device: Device,
        stale_s: float = 0.3,
        takeover_ticks: int = 3,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not stale_s > 0 or takeover_ticks < 1:
            raise ConfigError(
                f"Messages are stale after {stale_s} s and control is asked for {takeover_ticks} ticks; both have to be positive."
            )
        if contract.action.names != robot.joint_names:
            raise ContractError(
                f"An operator's device moves the joints of '{robot.name}', {', '.join(robot.joint_names)}; the action is "
                f"{', '.join(contract.action.names)}."
            )
        measured = (f for f in contract.observations if f.kind == "joint_position" and not f.is_goal)
        joints = next((f for f in measured if set(robot.joint_names) <= set(f.names)), None)
        if joints is None:
            raise ContractError(
                f"An operator's device moves '{robot.name}' from where its joints are, and no observation holds them. There are: "
                f"{', '.join(f.name for f in contract.observations)}."
            )
        self.device, self._clock = device, clock
        self._joints = joints.name
        self._order = np.array([joints.names.index(name) for name in robot.joint_names])
        self._fingers = [] if robot.gripper is None else [robot.index(robot.gripper)]
        self._lower, self._upper = robot.limit("lower"), robot.limit("upper")
        self._period_s = contract.chunk.control_period_s
        self._stale_ns, self._takeover_ticks = round(stale_s * 1e9), takeover_ticks
        self._kinematics = ToolKinematics(robot, posture_cost=3e-3, damping=1e-9)
        device.open(self._period_s)
        self._heard_ns: int | None = (
            None  # stamp of the newest message, of whatever episode: said once, a mark counts once
        )
        self.reset(0)

    def reset(self, seed: int) -> None:
        """An episode begins, without the operator."""
        self.device.reset()
        self.message: Intervention | None = None
        """The newest one."""
        self.mark = Mark.NONE
        """What the operator has said of the episode."""
        self.driving = False
        """Whether the operator has control."""
        self.silent = False
        """Whether the newest message was stale when it was looked for last, or there was none."""
        self.commanded: np.ndarray | None = None
        """(num_joints,) what the robot was sent last, whoever drove."""
        self._asked, self._share = 0, 1.0
        self._target: np.ndarray | None = (
            None  # (num_joints,) what was asked for at the last tick, None without control
        )
        self._pose = mink.SE3.identity()

    def sent(self, command: SafeCommand) -> None:
        """What the safety filter made of this tick's action, whosever it was."""
        self.commanded = command.positions[0]
        held_back = not set(command.report.causes).isdisjoint(CAUSES)
        self._share = max(self._share / 2, self.SLOWEST) if held_back else min(2 * self._share, 1.0)
        if self._target is not None and held_back:
            gripper = self._target[self._fingers]
            self._target = self.commanded.copy()
            self._target[self._fingers] = gripper
            self._pose = self._kinematics.tool(self._target)

    def listen(self) -> None:
        """Take the newest message; what it says of episode and gripper is kept until it was acted on."""
        message = self.device.read()
        if message is not None and message.stamp_ns != self._heard_ns:
            self._hear(message)
        # One that comes from the future is of another clock, and would never get old.
        self.silent = self.message is None or abs(self._clock() - self.message.stamp_ns) > self._stale_ns

    def _hear(self, message: Intervention) -> None:
        self.message, self._heard_ns = message, message.stamp_ns
        self._asked = self._asked + 1 if message.control else 0
        if message.mark != Mark.NONE:
            self.mark = message.mark
        if self._target is not None and message.gripper != Gripper.KEEP:
            lower, upper = self._lower[self._fingers], self._upper[self._fingers]
            is_open = self._target[self._fingers] > (lower + upper) / 2
            opens = ~is_open if message.gripper == Gripper.TOGGLE else message.gripper == Gripper.OPEN
            self._target[self._fingers] = np.where(opens, upper, lower)

    def act(self, observation: Observation) -> np.ndarray:
        """(1, num_joints) joint targets of this tick."""
        self.listen()
        positions = observation.features[self._joints][self._order].astype(np.float64)
        message = self.message
        if not self.silent:
            self.driving = self._asked >= self._takeover_ticks
        if not self.driving:
            self._target = None
            return (positions if self.commanded is None else self.commanded)[None]
        if self._target is None:
            self._target = np.clip(positions, self._lower, self._upper)
            if self.commanded is not None:
                # Fingers that hold something are short of what they were sent, and let go where that is taken back.
                self._target[self._fingers] = self.commanded[self._fingers]
            self._pose = self._kinematics.tool(self._target)
        if message is not None and not self.silent:
            self._move(positions, message)
        return self._target[None].copy()

    def _move(self, positions: np.ndarray, message: Intervention) -> None:
        """Move pose and joints by one period, unless the pose would run away from the tool at ``positions``."""
        linear = np.array(message.linear, np.float64)
        if self._target is None or not (np.isfinite(linear).all() and np.isfinite(message.yaw_rate)):
            return
        linear *= self._share * min(1.0, self.SPEED_M_S / max(float(np.linalg.norm(linear)), 1e-9))
        turn = float(np.clip(message.yaw_rate, -self.SPEED_RAD_S, self.SPEED_RAD_S)) * self._share * self._period_s
        tool = self._kinematics.tool(positions)
        here, spin = self._pose.translation(), self._pose.rotation()
        there, spun = here + linear * self._period_s, mink.SO3.from_z_radians(turn) @ spin
        ahead_m = np.linalg.norm(there - tool.translation())
        if self.LEASH_M < ahead_m > np.linalg.norm(here - tool.translation()):
            there = here
        if self.LEASH_RAD < _angle(spun, tool.rotation()) > _angle(spin, tool.rotation()):
            spun = spin
        self._pose = mink.SE3.from_rotation_and_translation(spun, there)
        self._kinematics.rest_at(self._target)
        self._kinematics.tool(self._target)
        try:
            joints = self._kinematics.step(self._pose)
        except RobotError:  # as far as it is known how to go
            return
        joints[self._fingers] = self._target[self._fingers]
        self._target = joints


def _angle(one: mink.SO3, other: mink.SO3) -> float:
    """Between two rotations [rad]."""
    return float(np.linalg.norm((one.inverse() @ other).log()))

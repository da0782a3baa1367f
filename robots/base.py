"""What a control loop needs of a robot and of an agent, simulated or real: two small protocols and the data between them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from praxon.contract import Observation
from praxon.robots.spec import RobotSpec


@dataclass(frozen=True)
class SafetyReport:
    """What the safety filter changed.

    Args:
        causes: names of the checks that changed or refused the action, empty when it passed unchanged.
        deviation: largest difference between the asked and the released position over the joints [rad or m].
        held: True when the action was refused and the robot is being brought to rest instead.
    """

    causes: tuple[str, ...] = ()
    deviation: float = 0.0
    held: bool = False


@dataclass(frozen=True)
class SafeCommand:
    """A command that went through the safety filter; nothing else reaches a robot.

    Args:
        stamp_ns: tick at which it is issued; row i is to be reached at ``stamp_ns + (i + 1) * period_s`` [ns].
        period_s: time between rows [s].
        positions: (K, num_joints) in the order of the RobotSpec [rad or m]. Row 0 is the action of this tick; further
            rows are a preview that ends at rest, so that a robot that hears nothing more brakes by itself.
        velocities: (K, num_joints) at those rows [rad/s or m/s].
        report: what was changed.
    """

    stamp_ns: int
    period_s: float
    positions: np.ndarray
    velocities: np.ndarray
    report: SafetyReport


class Robot(Protocol):
    """A body that can be observed and commanded at ticks of one clock."""

    spec: RobotSpec
    lookahead: int
    """Rows of preview this robot wants after row 0; 0 in simulation."""

    def now_ns(self) -> int:
        """The robot's clock [ns]."""

    def observe(self) -> Observation | None:
        """The newest complete observation, or None while something has not been received yet."""

    def command(self, command: SafeCommand) -> None:
        """Send a filtered command; a new one replaces the old from its stamp on."""

    def wait_until(self, deadline_ns: int) -> None:
        """Let time pass until the robot's clock shows ``deadline_ns``; simulated robots advance physics here."""


class Agent(Protocol):
    """Whatever decides: a policy with its chunk executor, a scripted expert, an operator."""

    def reset(self, seed: int) -> None:
        """Forget the last episode; ``seed`` fixes everything random in the next."""

    def act(self, observation: Observation) -> np.ndarray | None:
        """Joint targets (K, num_joints) for this tick and, further rows, a preview of the next; None means: nothing to say yet."""

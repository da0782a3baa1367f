"""Intervention: what an operator's device says at an instant, and Device, which says it.

Keyboard, gamepad and whatever is added later, a ROS topic among them, give the same message; what it makes a robot do is written
once, in ``praxon.robots.teleoperation.operator``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum


class Mark(IntEnum):
    """What the operator says of the episode, which ends with it."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    DISCARD = 3


class Gripper(IntEnum):
    """What the gripper is to do."""

    KEEP = 0
    OPEN = 1
    CLOSE = 2
    TOGGLE = 3


@dataclass(frozen=True)
class Intervention:
    """One message of a device.

    ``gripper`` and ``mark`` are events: a message that is read a second time does not say them again.

    Args:
        stamp_ns: when it was true, on the clock of ``time.monotonic_ns`` [ns].
        control: whether the operator has, or asks for, control.
        linear: velocity of the tool in the base frame (x, y, z) [m/s].
        yaw_rate: of the tool about the vertical, anticlockwise from above [rad/s].
        gripper: what it is to do from now on.
        paused: whether the world is to wait.
        mark: what the operator says of the episode.
    """

    stamp_ns: int
    control: bool = False
    linear: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw_rate: float = 0.0
    gripper: Gripper = Gripper.KEEP
    paused: bool = False
    mark: Mark = Mark.NONE


class Device(ABC):
    """What an operator has in hand.

    Attributes:
        keys: what to press for what, one line each.
        needs_window: whether it is a window that hears the operator.
    """

    keys: tuple[str, ...] = ()
    needs_window = False

    def open(self, period_s: float) -> None:  # noqa: B027  (most are open as they are)
        """Get hold of the hardware.

        Args:
            period_s: time between two reads while the world goes on [s].

        Raises:
            ConfigError: there is none, or what reads it is not installed.
        """

    def close(self) -> None:  # noqa: B027  (most hold nothing)
        """Let go of the hardware; ``open`` gets hold of it again."""

    def reset(self) -> None:  # noqa: B027
        """An episode begins: forget what was pressed in the last."""

    @abstractmethod
    def read(self) -> Intervention | None:
        """The newest message, the same again where no newer one came; ``None`` before the first."""

    def press(self, key: int) -> None:  # noqa: B027
        """A key was pressed in the window, from any thread.

        Args:
            key: GLFW's code of it, an upper-case letter's being its ASCII code.
        """

"""Keyboard: keys pressed in the viewer's window.

The window tells presses and no releases, and a key that is held down is one press. So a press of a direction is a step of fixed
length, travelled at a fixed speed, and control, pause and gripper are toggles. The keys are those the viewer has no use for.
"""

import threading
import time
from collections.abc import Callable

import numpy as np

from praxon.errors import ConfigError
from praxon.robots.teleoperation.intervention import Device, Gripper, Intervention, Mark

SPACE, MINUS, EQUAL = 32, 45, 61
SEVEN, EIGHT, NINE = 55, 56, 57
ENTER, INSERT, DELETE = 257, 260, 261
RIGHT, LEFT, DOWN, UP = 262, 263, 264, 265
PAGE_UP, PAGE_DOWN, HOME, END = 266, 267, 268, 269

STEPS = {
    UP: (0, 1),
    DOWN: (0, -1),
    LEFT: (1, 1),
    RIGHT: (1, -1),
    PAGE_UP: (2, 1),
    PAGE_DOWN: (2, -1),
    HOME: (3, 1),
    END: (3, -1),
}
"""Keys of GLFW -> component of (x, y, z, yaw), and its sign."""
MARKS = {SEVEN: Mark.SUCCESS, EIGHT: Mark.FAILURE, NINE: Mark.DISCARD}
FINEST, COARSEST = 1 / 8, 4.0
"""Factors of the length of a step."""


class Keyboard(Device):
    """Steps and toggles; each episode begins paused.

    Args:
        step_m: length of a step [m].
        step_rad: angle of a turn [rad].
        speed_m_s: at which steps are travelled [m/s].
        speed_rad_s: at which turns are [rad/s].
        queued: steps in a direction that are waited for at most; further presses are lost.
        clock: [ns].

    Raises:
        ConfigError: one of them is not positive.
    """

    needs_window = True
    keys = (
        "Space      pause, go on (every episode begins paused)",
        "Enter      take over, give back",
        "Up Down    away from the robot's base, towards it",
        "Left Right to the robot's left, right",
        "Page Up/Dn up, down",
        "Home End   turn anticlockwise, clockwise",
        "- =        half, twice the step",
        "Insert     open or close the gripper (Delete too)",
        "7          success: the episode ends",
        "8          failure: the episode ends",
        "9          discard: the episode begins again and is not kept",
    )

    def __init__(
        self,
        step_m: float = 0.02,
        step_rad: float = 0.15,
        speed_m_s: float = 0.15,
        speed_rad_s: float = 1.0,
        queued: int = 4,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not min(step_m, step_rad, speed_m_s, speed_rad_s, queued) > 0:
            raise ConfigError(
                f"Steps of {step_m} m and {step_rad} rad at {speed_m_s} m/s and {speed_rad_s} rad/s, {queued} of them queued; all "
                "have to be positive."
            )
        self._step = np.array([step_m, step_m, step_m, step_rad])
        self._speed = np.array([speed_m_s, speed_m_s, speed_m_s, speed_rad_s])
        self._queued, self._clock = queued, clock
        self._lock = threading.Lock()
        self._scale, self._period_s = 1.0, 0.05
        self.reset()

    def open(self, period_s: float) -> None:
        """See ``Device.open``."""
        self._period_s = period_s

    def reset(self) -> None:
        """See ``Device.reset``; the length of steps stays."""
        with self._lock:
            self._left = np.zeros(4)
            self._control, self._paused = False, True
            self._gripper, self._mark = Gripper.KEEP, Mark.NONE

    def press(self, key: int) -> None:
        """See ``Device.press``; keys that mean nothing are let pass."""
        with self._lock:
            if key in STEPS and self._control and not self._paused:
                part, sign = STEPS[key]
                step = self._scale * self._step[part]
                self._left[part] = np.clip(self._left[part] + sign * step, -self._queued * step, self._queued * step)
            elif key == SPACE:
                self._paused = not self._paused
            elif key == ENTER:
                self._control, self._paused = not self._control or self._paused, False
            elif key in (INSERT, DELETE):
                self._gripper = Gripper.KEEP if self._gripper == Gripper.TOGGLE else Gripper.TOGGLE
            elif key in (MINUS, EQUAL):
                self._scale = float(np.clip(self._scale * (2.0 if key == EQUAL else 0.5), FINEST, COARSEST))
            elif key in MARKS:
                self._mark = MARKS[key]
            if self._paused or not self._control:
                self._left[:] = 0.0

    def read(self) -> Intervention:
        """What was pressed since the last read, and the velocity at which steps are travelled until the next."""
        with self._lock:
            reach = self._speed * self._period_s
            part = np.clip(self._left, -reach, reach)
            self._left -= part
            x, y, z, yaw_rate = (part / self._period_s).tolist()
            message = Intervention(
                self._clock(), self._control, (x, y, z), yaw_rate, self._gripper, self._paused, self._mark
            )
            self._gripper, self._mark = Gripper.KEEP, Mark.NONE
            return message

"""Gamepad: sticks are velocities, and the operator drives for as long as a shoulder button is held.

Axes and buttons are numbered as SDL numbers those of an Xbox pad under Linux; other pads need other numbers.
"""

import importlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from praxon.errors import ConfigError
from praxon.robots.teleoperation.intervention import Device, Gripper, Intervention, Mark

AXES = {"x": 1, "y": 0, "z": 4, "yaw": 3}
BUTTONS = {"drive": 5, "gripper": 0, "failure": 1, "discard": 2, "success": 3, "pause": 7}
MARKS = {"success": Mark.SUCCESS, "failure": Mark.FAILURE, "discard": Mark.DISCARD}


class Gamepad(Device):
    """Sticks and buttons; each episode begins paused.

    Args:
        index: of the pad among those attached.
        speed_m_s: of the tool along an axis, at a stick's end [m/s].
        speed_rad_s: of its turning [rad/s].
        deadzone: share of a stick's way that means nothing.
        axes: number of the axis for 'x', 'y', 'z' and 'yaw'; a stick that is pushed away or to the left counts as positive.
        buttons: number of the button for 'drive', 'gripper', 'pause', 'success', 'failure' and 'discard'.
        clock: [ns].

    Raises:
        ConfigError: a speed that is not positive, a deadzone outside [0, 1), or an axis or button that is not named.
    """

    keys = (
        "Right shoulder (hold)  drive",
        "Left stick             away from the robot's base, towards it, to its left, right",
        "Right stick            up, down, turn",
        "A                      open or close the gripper",
        "Start                  pause, go on (every episode begins paused)",
        "Y, B                   success, failure: the episode ends",
        "X                      discard: the episode begins again and is not kept",
    )

    def __init__(
        self,
        index: int = 0,
        speed_m_s: float = 0.2,
        speed_rad_s: float = 1.0,
        deadzone: float = 0.12,
        axes: Mapping[str, int] = AXES,
        buttons: Mapping[str, int] = BUTTONS,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not (speed_m_s > 0 and speed_rad_s > 0 and 0 <= deadzone < 1):
            raise ConfigError(
                f"Speeds of {speed_m_s} m/s and {speed_rad_s} rad/s with a deadzone of {deadzone}; speeds above 0 and a share "
                "below 1 are needed."
            )
        for given, needed in ((axes, AXES), (buttons, BUTTONS)):
            if set(given) != set(needed):
                raise ConfigError(f"Numbers are given for {', '.join(given)}; those of {', '.join(needed)} are needed.")
        self._index, self._speed_m_s, self._speed_rad_s, self._deadzone = index, speed_m_s, speed_rad_s, deadzone
        self._axes, self._buttons, self._clock = dict(axes), dict(buttons), clock
        self._pygame: Any = None
        self._pad: Any = None
        self._newest: Intervention | None = None
        self.reset()

    def open(self, period_s: float) -> None:
        """See ``Device.open``."""
        # Pads are read with or without a window, and while another one has the focus.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("SDL_JOYSTICK_ALLOW_BACKGROUND_EVENTS", "1")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            self._pygame = importlib.import_module("pygame")
        except ImportError as error:
            raise ConfigError(
                f"A gamepad is read by pygame ({error}), which pip install 'praxon[gamepad]' installs."
            ) from error
        self._pygame.display.init()
        self._pygame.joystick.init()
        found = self._pygame.joystick.get_count()
        if not 0 <= self._index < found:
            raise ConfigError(
                f"Gamepad {self._index} was asked for and {found} are attached; one has to be plugged in before, and "
                "operator=keyboard needs none."
            )
        self._pad = self._attached()

    def _attached(self) -> Any:
        pad = self._pygame.joystick.Joystick(self._index)
        has = {"axis": pad.get_numaxes(), "button": pad.get_numbuttons()}
        for kind, numbers in (("axis", self._axes), ("button", self._buttons)):
            for name, number in numbers.items():
                if not 0 <= number < has[kind]:
                    raise ConfigError(
                        f"'{pad.get_name()}' has {has[kind]} of kind {kind}, counted from 0, and number {number} is to be "
                        f"'{name}'."
                    )
        return pad

    def close(self) -> None:
        """See ``Device.close``."""
        self._pygame.joystick.quit()
        self._pad = None

    def reset(self) -> None:
        """See ``Device.reset``."""
        self._paused, self._before = True, frozenset(self._buttons)

    def read(self) -> Intervention | None:
        """What is held now; the last message again while the pad is gone."""
        self._pygame.event.pump()
        if self._index >= self._pygame.joystick.get_count():
            self._pad = None
        elif self._pad is None:  # it is back, and another one to SDL
            self._pad = self._attached()
        if self._pad is not None and self._pad.get_init():
            axes = [self._pad.get_axis(number) for number in range(self._pad.get_numaxes())]
            buttons = [bool(self._pad.get_button(number)) for number in range(self._pad.get_numbuttons())]
            self._newest = self.said(axes, buttons)
        return self._newest

    def said(self, axes: Sequence[float], buttons: Sequence[bool]) -> Intervention:
        """The message of axes in [-1, 1], where pushing away and to the left are negative as SDL has it, and of buttons held.

        A button that was held when the episode began counts once it was let go.
        """
        held = frozenset(name for name, number in self._buttons.items() if buttons[number])
        pressed, self._before = held - self._before, held
        if "pause" in pressed:
            self._paused = not self._paused
        x, y, z, yaw = (self._live(-axes[self._axes[name]]) for name in AXES)
        return Intervention(
            self._clock(),
            "drive" in held,
            (self._speed_m_s * x, self._speed_m_s * y, self._speed_m_s * z),
            self._speed_rad_s * yaw,
            Gripper.TOGGLE if "gripper" in pressed else Gripper.KEEP,
            self._paused,
            next((mark for name, mark in MARKS.items() if name in pressed), Mark.NONE),
        )

    def _live(self, value: float) -> float:
        """A stick's way beyond the deadzone, in [-1, 1] and without a step at its edge."""
        beyond = max(0.0, abs(value) - self._deadzone) / (1 - self._deadzone)
        return min(beyond, 1.0) * (1.0 if value > 0 else -1.0)

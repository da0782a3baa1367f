"""Window: MuJoCo's viewer on a running simulation, which tells the keys that are pressed in it."""

import atexit
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence

import mujoco

from praxon.errors import ConfigError

CLOSING_S = 10.0
"""A picture that is being drawn is waited for so long [s]."""


class Window:
    """A window that is drawn by a thread of its own; the simulation says when it has moved.

    Args:
        model, data: what is shown.
        keys: what to press for what, shown in the window.
        pressed: called with GLFW's code of every key that is pressed, from another thread.

    Raises:
        ConfigError: there is no display, or it cannot show a window.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        keys: Sequence[str] = (),
        pressed: Callable[[int], None] | None = None,
    ) -> None:
        problem = display_problem()
        if problem is not None:
            raise ConfigError(problem)
        import mujoco.viewer

        before = set(threading.enumerate())
        try:
            self._viewer = mujoco.viewer.launch_passive(
                model, data, key_callback=pressed, show_left_ui=False, show_right_ui=False
            )
        except RuntimeError as error:  # macOS, where windows belong to the main thread
            raise ConfigError(f"MuJoCo's viewer cannot be opened: {error}.") from error
        self._drawing = set(threading.enumerate()) - before
        self._keys, self._said = "\n".join(keys), ""
        # Before the viewer's own, which takes GLFW away from a thread that still draws: X then never lets the process end.
        atexit.register(self.close)

    @property
    def closed(self) -> bool:
        """Whether the user has closed it."""
        return not self._viewer.is_running()

    def show(self, state: str) -> None:
        """Draw the simulation as it is, under one line that says how things are."""
        self._viewer.sync()
        if state != self._said and hasattr(self._viewer, "set_texts"):  # MuJoCo 3.3.0 has none
            self._viewer.set_texts((None, None, f"{state}\n\n{self._keys}", None))
            self._said = state

    def close(self) -> None:
        """Close it, and wait until nothing is drawn any more."""
        self._viewer.close()
        for thread in self._drawing:
            thread.join(CLOSING_S)


def display_problem() -> str | None:
    """None where a window can be opened, else one sentence saying what is missing."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return (
            "A window needs a display, and DISPLAY is not set, as it is in a desktop session; operator=gamepad and operator=expert "
            "need none."
        )
    import glfw

    # The viewer would wait for ever for a window that cannot be made.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        window = None
        if glfw.init():
            glfw.window_hint(glfw.VISIBLE, glfw.FALSE)
            window = glfw.create_window(16, 16, "", None, None)
            glfw.default_window_hints()
    if window:
        glfw.destroy_window(window)
        return None
    reasons = " ".join(str(warning.message) for warning in said) or "GLFW gives no reason"
    where = os.environ.get("DISPLAY", "")
    return (
        f"No window can be opened on the display '{where}' ({' '.join(reasons.split())}); operator=gamepad and operator=expert "
        "need none."
    )

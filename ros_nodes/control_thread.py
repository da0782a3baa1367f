"""A control loop in a thread of its own that always ends in a hold: the safe command is the last one sent. No ROS."""

import threading
import traceback
from collections.abc import Callable

import numpy as np

from praxon.robots.loop import ControlLoop


class ControlThread:
    """Runs a ``ControlLoop`` until it is stopped or something goes wrong.

    Args:
        loop: to run.
        failed: called from the thread, after the hold was sent, with one sentence on what went wrong.
    """

    def __init__(self, loop: ControlLoop, failed: Callable[[str], None]) -> None:
        self.loop = loop
        self._failed = failed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether commands are being sent."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, positions: np.ndarray, seed: int) -> None:
        """Begin at rest at the measured ``positions`` (num_joints,), with everything random fixed by ``seed``."""
        self.loop.reset(positions, seed)
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop after its present tick; returns when the hold has been sent. Harmless where nothing runs."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        problem = ""
        try:
            # A tick ends when the next one is due: leaving here, the hold takes the place of the next command exactly.
            while not self._stop.is_set():
                self.loop.tick()
        except Exception as error:
            traceback.print_exc()
            problem = f"The control loop ended: {type(error).__name__}: {error}"
        try:
            self._hold()
        except Exception as error:
            traceback.print_exc()
            problem = problem or f"The hold could not be sent: {type(error).__name__}: {error}"
        if problem:
            self._failed(problem)

    def _hold(self) -> None:
        robot, now_ns = self.loop.robot, self.loop.robot.now_ns()
        robot.command(self.loop.safety.filter(None, now_ns, now_ns, robot.lookahead))

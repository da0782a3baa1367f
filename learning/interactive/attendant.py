"""Attendant: keeps a simulation in step with the person who watches it: real time, the window, pauses, a device that is silent."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from praxon.robots.loop import Tick
from praxon.robots.teleoperation.intervention import Mark
from praxon.robots.teleoperation.operator import OperatorAgent

LOOKED_EVERY_S = 0.02
"""While the world waits [s]."""
PAUSED, SILENT = "paused", "the device is silent: all waits until it is heard again"
log = logging.getLogger(__name__)


class Shown(Protocol):
    """A window on the world."""

    @property
    def closed(self) -> bool:
        """Whether the person has closed it."""

    def show(self, state: str) -> None:
        """Draw the world as it is, and say who drives."""


class Attendant:
    """A subscriber of the control loop that returns when the wall clock has come as far as the simulation will have.

    Simulation time stands still while the operator has paused, or is not heard and so could not, so that policy and robot hold. A
    world that computes for longer than a control period is slower than real time, and does not hurry afterwards.

    Args:
        operator: whose messages are waited for.
        period_s: of control [s].
        window: on the world, or ``None``.
        clock: [ns].
        sleep: lets so many seconds pass.

    Raises:
        KeyboardInterrupt: the window that the operator's device needs was closed.
    """

    def __init__(
        self,
        operator: OperatorAgent,
        period_s: float,
        window: Shown | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.operator, self.window = operator, window
        self._period_ns, self._clock, self._sleep = round(period_s * 1e9), clock, sleep
        self._due_ns = 0

    @property
    def mark(self) -> Mark:
        """What the operator has said of this episode."""
        return self.operator.mark

    def __call__(self, tick: Tick) -> None:
        """Wait until this tick's command is due to be carried out."""
        self.operator.sent(tick.command)
        self._show("you drive" if self.operator.driving else "the policy drives")
        now_ns = self._clock()
        self._due_ns = now_ns if tick.index == 0 else max(self._due_ns, now_ns)
        self._sleep((self._due_ns - now_ns) / 1e9)
        self._wait()
        self._due_ns += self._period_ns

    def _wait(self) -> None:
        """While there is a reason to."""
        before: str | None = None
        while self.mark == Mark.NONE and (reason := self._reason) is not None:
            if reason == SILENT != before:
                log.warning("%s", SILENT)
            before = reason
            self._show(reason)
            self._sleep(LOOKED_EVERY_S)
            self.operator.listen()
        if before is not None:
            self._due_ns = self._clock()

    @property
    def _reason(self) -> str | None:
        if self.operator.silent:
            return SILENT
        return PAUSED if self.operator.message is not None and self.operator.message.paused else None

    def _show(self, state: str) -> None:
        if self.window is None:
            return
        if not self.window.closed:
            self.window.show(state)
        elif self.operator.device.needs_window:
            raise KeyboardInterrupt("The window was closed; the same command with resume=true goes on.")

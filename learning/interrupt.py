"""Ctrl-C during training, or a cluster that wants its machine back: finish the step, save, then stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether someone has asked to stop."""

    requested = False


@contextmanager
def deferred_interrupt(patient: bool = False) -> Iterator[Interrupt]:
    """Turn the first SIGINT or SIGTERM into a flag; a second one interrupts at once.

    Outside the main thread nothing changes.

    Args:
        patient: let no second one interrupt. Under a launcher the terminal sends one, and the launcher sends others; it
            also ends what does not stop in time.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupt.requested and not patient:
            raise KeyboardInterrupt
        interrupt.requested = True

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

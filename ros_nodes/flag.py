"""A flag that a signal handler may set."""

import time

_POLL_S = 0.02


class Flag:
    """An event without a lock.

    A signal handler runs inside whatever the main thread is doing. Where that is ``threading.Event.set`` or ``wait``, a
    handler that sets the same event waits for a lock that its own thread holds, for ever. Setting this is one assignment.
    """

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Raise the flag; from any thread or signal handler, any number of times."""
        self._set = True

    def clear(self) -> None:
        """Lower it again."""
        self._set = False

    def is_set(self) -> bool:
        """Whether it is raised."""
        return self._set

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is raised, at most so long [s]; whether it is."""
        deadline_s = time.monotonic() + timeout_s
        while not self._set and (rest_s := deadline_s - time.monotonic()) > 0:
            time.sleep(min(_POLL_S, rest_s))
        return self._set

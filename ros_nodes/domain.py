"""ROS domains on this machine: each graph of ours claims one, so that two never hear each other."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

from praxon.errors import RobotError

DOMAINS = 101
"""Domain ids that are safe on every operating system are 1 to 101; 0 is what everybody else uses."""


class Domain:
    """A claimed domain; free again when this is closed or the process ends, however it ends.

    Args:
        domain_id: ROS_DOMAIN_ID; when None the environment's, else the first free one, beginning at one made from this
            process's id.

    Raises:
        RobotError: the domain asked for is taken, or every one is.
    """

    def __init__(self, domain_id: int | None = None) -> None:
        given = os.environ.get("ROS_DOMAIN_ID") if domain_id is None else str(domain_id)
        first = 1 + os.getpid() % DOMAINS
        wanted = [int(given)] if given else [1 + (first + i - 1) % DOMAINS for i in range(DOMAINS)]
        for number in wanted:
            claim = _claim(number)
            if claim is not None:
                self.id, self._claim = number, claim
                return
        which = f"ROS domain {wanted[0]} is" if given else "All ROS domains are"
        raise RobotError(
            f"{which} in use by other runs of Praxon on this machine; stop one or set ROS_DOMAIN_ID to another."
        )

    def environment(self) -> dict[str, str]:
        """The environment of processes in this domain: this one's, and nothing leaves this machine."""
        return {
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            **os.environ,
            "ROS_DOMAIN_ID": str(self.id),
            "PYTHONUNBUFFERED": "1",
        }

    def close(self) -> None:
        """Give it back."""
        self._claim.close()


def _claim(number: int) -> IO[str] | None:
    """An open, locked file for the domain, or None where another process holds it."""
    path = Path(tempfile.gettempdir()) / f"praxon-{os.getuid()}-ros-domain-{number}.lock"
    claim = path.open("w")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        claim.close()
        return None
    return claim

"""Child processes of a graph: started in their own session with a log file, asked to end, made to end. Only our own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from praxon.errors import RobotError
from praxon.ros_nodes.parent import PARENT_VARIABLE


class Child:
    """One Python module running as a process in a session of its own, so that a Ctrl-C meant for us does not reach it.

    It ends with us: it is told our process id and asks the kernel to be terminated when we die.

    Args:
        module: run with ``python -m``.
        arguments: of the module.
        log: file that takes what it prints.
        environment: of the process.
        pipe_output: let ``output`` read its standard output; only errors go to the log then.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        pipe_output: bool = False,
    ) -> None:
        self.name = module.rpartition(".")[2]
        self.log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe_output else sink,
                stderr=sink,
                env={**environment, PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def output(self) -> IO[str]:
        """Its standard output, where it was piped."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def returncode(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def require_alive(self) -> None:
        """Raise ``RobotError`` quoting the end of the log if it has ended."""
        if self.returncode is not None:
            raise RobotError(f"Process '{self.name}' ended with status {self.returncode}; {self.tail()}")

    def tail(self, lines: int = 5) -> str:
        """Where the log is and how it ends."""
        text = self.log.read_text(errors="replace").strip().splitlines()[-lines:]
        return f"its log '{self.log}' ends with: {' | '.join(text)}" if text else f"its log '{self.log}' is empty"

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C would."""
        self._send(signal.SIGINT)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within ``timeout_s``."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, interrupt_s: float = 8.0, terminate_s: float = 2.0) -> None:
        """End it: asked first, then terminated, then killed; returns when it is gone."""
        self.interrupt()
        if not self.wait(interrupt_s):
            self._send(signal.SIGTERM)
            if not self.wait(terminate_s):
                self._send(signal.SIGKILL)
                self._process.wait()

    def _send(self, number: int) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)


def stop_all(children: Sequence[Child], interrupt_s: float = 8.0) -> None:
    """End several at the same time, within one deadline."""
    for child in children:
        child.interrupt()
    deadline_s = time.monotonic() + interrupt_s
    for child in children:
        child.wait(max(0.0, deadline_s - time.monotonic()))
    for child in children:
        child.stop(interrupt_s=0.0)

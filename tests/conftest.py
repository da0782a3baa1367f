"""What holds for all tests."""

import os
import signal
from collections.abc import Generator

import pytest

from praxon.datasets.scheduling import scheduling_kept

# Several test processes share few cores: threads of small networks would spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A process started in a shell's background ignores Ctrl-C and hands that down; the processes that tests interrupt must not.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Tests that use an AV1 encoder themselves would leave this process a real-time one, whose threads starve each other.

    This is around the fixtures of a module and of the session too, which come before any of a test's own.
    """
    with scheduling_kept():
        return (yield)

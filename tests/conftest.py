"""What holds for all tests."""

import os
import signal
from collections.abc import Iterator

import pytest

from praxon.datasets.scheduling import scheduling_kept

# Several test processes share few cores: threads of small networks would spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A process started in a shell's background ignores Ctrl-C and hands that down; the processes that tests interrupt must not.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """Tests that use an AV1 encoder themselves would leave this process a real-time one, whose threads starve each other."""
    with scheduling_kept():
        yield

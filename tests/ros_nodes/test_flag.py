"""The flag of signal handlers: set while it is being set or waited for, it never waits for itself."""

import subprocess
import sys
import time

from praxon.ros_nodes.flag import Flag

STORM = """
import os, signal, sys, threading, time
from praxon.ros_nodes.flag import Flag
flag, count = Flag(), 0
def handle(*_):
    global count
    count += 1
    flag.set()
signal.signal(signal.SIGTERM, handle)
ends = time.monotonic() + 1.0
def shoot():
    while time.monotonic() < ends:
        os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=shoot).start()
while time.monotonic() < ends:
    flag.clear()
    flag.wait(0.0)
    for _ in range(100):
        flag.set()
print(count)
"""


def test_a_storm_of_signals_does_not_stop_it():
    # With a threading.Event in its place the process waits for itself within the second.
    output = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, check=True, timeout=60)
    assert int(output.stdout) > 1


def test_waiting_ends_when_it_is_set_or_the_time_is_over():
    flag = Flag()
    assert flag.wait(0.0) is False
    began = time.monotonic()
    assert flag.wait(0.05) is False
    assert time.monotonic() - began >= 0.05
    flag.set()
    assert flag.wait(60.0) is True
    flag.clear()
    assert not flag.is_set()

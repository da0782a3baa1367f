"""However a control loop ends, the hold is the last command, and what went wrong is said once."""

import threading
import time

import numpy as np
import pytest

from praxon.contract import Observation
from praxon.robots.base import SafeCommand
from praxon.robots.loop import ControlLoop
from praxon.robots.panda import PANDA
from praxon.robots.safety import SafetyFilter
from praxon.ros_nodes.control_thread import ControlThread

HOME = np.array(PANDA.home)


class FakeRobot:
    """Ticks a thousand times faster than its clock says."""

    spec, lookahead = PANDA, 2

    def __init__(self) -> None:
        self.clock_ns = 10**9
        self.commands: list[SafeCommand] = []

    def now_ns(self) -> int:
        return self.clock_ns

    def observe(self) -> Observation:
        return Observation(self.clock_ns, {"observation.state": HOME.astype(np.float32)})

    def command(self, command: SafeCommand) -> None:
        self.commands.append(command)

    def wait_until(self, deadline_ns: int) -> None:
        time.sleep(1e-4)
        self.clock_ns = deadline_ns


class Wanderer:
    """Drives the first joint one way; fails after some ticks."""

    def __init__(self, good_ticks: int) -> None:
        self.left = good_ticks
        self.position = HOME.copy()

    def reset(self, seed: int) -> None:
        self.seed = seed

    def act(self, observation: Observation) -> np.ndarray:
        if self.left == 0:
            raise ValueError("weights on fire")
        self.left -= 1
        self.position[0] = min(self.position[0] + 0.01, 1.0)
        return np.repeat(self.position[None], 3, axis=0)


def run(good_ticks: int) -> tuple[FakeRobot, ControlThread, list[str], threading.Event]:
    robot, problems, failed = FakeRobot(), [], threading.Event()

    def note(sentence: str) -> None:
        problems.append(sentence)
        failed.set()

    loop = ControlLoop(robot, Wanderer(good_ticks), SafetyFilter(PANDA, 0.05, 0.2))
    control = ControlThread(loop, note)
    control.start(HOME, seed=3)
    return robot, control, problems, failed


def test_a_stop_ends_in_a_hold_on_the_grid_of_ticks() -> None:
    robot, control, problems, _ = run(good_ticks=10**9)
    while len(robot.commands) < 20:
        time.sleep(1e-3)
    assert control.running
    control.stop()
    assert not control.running
    assert problems == []
    *_, before, last = robot.commands
    assert last.report.held
    assert not any(command.report.held for command in robot.commands[:-1])
    assert last.stamp_ns == before.stamp_ns + 50_000_000
    assert np.all(last.velocities[-1] == 0)
    count = len(robot.commands)
    time.sleep(0.01)
    assert len(robot.commands) == count


def test_an_exception_ends_in_a_hold_and_one_sentence() -> None:
    robot, control, problems, failed = run(good_ticks=15)
    assert failed.wait(10)
    assert problems == ["The control loop ended: ValueError: weights on fire"]
    assert len(robot.commands) == 16
    assert robot.commands[-1].report.held
    control.stop()
    assert len(robot.commands) == 16


def test_it_can_be_started_again() -> None:
    robot, control, _, _ = run(good_ticks=10**9)
    control.stop()
    count = len(robot.commands)
    control.start(HOME, seed=4)
    while len(robot.commands) < count + 3:
        time.sleep(1e-3)
    control.stop()
    assert control.loop.agent.seed == 4
    assert robot.commands[-1].report.held


@pytest.mark.parametrize("times", [1, 2])
def test_stopping_what_does_not_run_is_harmless(times: int) -> None:
    control = ControlThread(ControlLoop(FakeRobot(), Wanderer(1), SafetyFilter(PANDA, 0.05, 0.2)), lambda _: None)
    for _ in range(times):
        control.stop()
    assert not control.running

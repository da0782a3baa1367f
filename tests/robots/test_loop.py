"""ControlLoop on a robot of a few lines: order of calls, deadlines on a fixed grid, and what silence does."""

import numpy as np
import pytest

from praxon.contract import Observation
from praxon.robots.base import SafeCommand
from praxon.robots.hold import HoldAgent
from praxon.robots.loop import ControlLoop, Tick
from praxon.robots.panda import PANDA
from praxon.robots.safety import SafetyFilter

HOME = np.array(PANDA.home)
PERIOD_NS = 50_000_000


class PerfectRobot:
    """Is where it was told to be; a tick may take ``busy_ns`` of its clock."""

    spec, lookahead = PANDA, 0

    def __init__(self) -> None:
        self.time_ns, self.busy_ns = 0, 0
        self.positions, self.blind = HOME, False
        self.deadlines: list[int] = []

    def now_ns(self) -> int:
        return self.time_ns

    def observe(self) -> Observation | None:
        state = self.positions.astype(np.float32)
        return None if self.blind else Observation(self.time_ns, {"observation.state": state})

    def command(self, command: SafeCommand) -> None:
        self.positions = command.positions[0]
        self.time_ns += self.busy_ns

    def wait_until(self, deadline_ns: int) -> None:
        self.deadlines.append(deadline_ns)
        self.time_ns = max(self.time_ns, deadline_ns)


@pytest.fixture
def robot() -> PerfectRobot:
    return PerfectRobot()


@pytest.fixture
def loop(robot) -> ControlLoop:
    loop = ControlLoop(robot, HoldAgent(), SafetyFilter(PANDA, 0.05, 0.2))
    loop.reset(HOME, seed=0)
    return loop


def test_deadlines_lie_on_a_grid(loop, robot):
    robot.busy_ns = 1_234_567
    for _ in range(5):
        loop.tick()
    assert robot.deadlines == [PERIOD_NS * k for k in range(1, 6)]
    assert loop.overruns == 0


def test_a_missed_deadline_is_counted_and_the_grid_kept(loop, robot):
    loop.tick()
    robot.busy_ns = round(2.4 * PERIOD_NS)
    loop.tick()
    robot.busy_ns = 0
    loop.tick()
    assert robot.deadlines == [PERIOD_NS * k for k in (1, 4, 5)]
    assert loop.overruns == 2


def test_subscribers_see_what_was_sent(loop, robot):
    ticks: list[Tick] = []
    loop.subscribers.append(ticks.append)
    for _ in range(3):
        loop.tick()
        assert ticks[-1].command.positions[0] is not None
        assert (robot.positions == ticks[-1].command.positions[0]).all()
    assert [tick.index for tick in ticks] == [0, 1, 2]
    assert [tick.command.stamp_ns for tick in ticks] == [0, PERIOD_NS, 2 * PERIOD_NS]


def test_a_robot_that_reports_nothing_is_held(loop, robot):
    robot.blind = True
    tick = loop.tick()
    assert tick.observation is None
    assert tick.action is None
    assert tick.command.report.causes == ("no_action",)
    assert tick.command.report.held
    assert (robot.positions == HOME).all()


def test_hold_agent_stays_where_it_first_saw_the_robot(loop, robot):
    for _ in range(3):
        tick = loop.tick()
    assert (tick.action == HOME.astype(np.float32)).all()

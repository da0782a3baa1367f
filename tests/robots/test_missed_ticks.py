"""Commands that come late: the robot has gone on along the last one, and what follows must be continuous with that."""

import numpy as np
import pytest

from praxon.contract import Observation
from praxon.robots.base import SafeCommand
from praxon.robots.loop import ControlLoop
from praxon.robots.panda import PANDA
from praxon.robots.safety import SafetyFilter

HOME = np.array(PANDA.home)
LIMITS = {name: PANDA.limit(name) for name in ("velocity", "acceleration", "jerk", "lower", "upper")}
SLACK = 1 + 1e-6
TICK_NS = 50_000_000


def swing(t):
    """Targets that move at about 1 rad/s, (num_joints,)."""
    wave = np.sin(2 * np.pi * 0.6 * t + np.arange(8))
    return np.clip(
        HOME + wave * np.array([0.27, 0.2, 0.27, 0.27, 0.27, 0.27, 0.27, 0.0]), LIMITS["lower"], LIMITS["upper"]
    )


def followed(period_s, gaps, lookahead):
    """Positions at every grid point of a robot that follows each command until the next one arrives ``gap`` ticks later."""
    safety = SafetyFilter(PANDA, period_s, 0.2)
    safety.reset(swing(0.0))
    path, tick = [swing(0.0)] * 3, 1
    for gap in gaps:
        now_ns = round(tick * period_s * 1e9)
        asked = np.stack([swing((tick + i + 1) * period_s) for i in range(lookahead + 1)])
        rows = safety.filter(asked, now_ns, now_ns, lookahead).positions
        held = np.repeat(rows[-1:], max(0, gap - len(rows)), axis=0)
        path += list(np.concatenate([rows, held])[:gap])
        tick += gap
    return np.stack(path)


def within_limits(path, period_s):
    velocity = np.diff(path, axis=0) / period_s
    acceleration = np.diff(velocity, axis=0) / period_s
    jerk = np.diff(acceleration, axis=0) / period_s
    assert (path >= LIMITS["lower"] - 1e-9).all()
    assert (path <= LIMITS["upper"] + 1e-9).all()
    for name, values in (("velocity", velocity), ("acceleration", acceleration), ("jerk", jerk)):
        worst = np.abs(values).max(axis=0) / LIMITS[name]
        assert worst.max() <= SLACK, (
            f"{name} of {PANDA.joint_names[worst.argmax()]} is {worst.max():.2f} times its limit"
        )


@pytest.mark.parametrize("period_s", [0.05, 0.01, 0.002])
@pytest.mark.parametrize("missed", [1, 2, 3, 5, 20])
def test_a_gap_in_motion_is_bridged_within_limits(period_s, missed):
    path = followed(period_s, [1] * 12 + [1 + missed] + [1] * 40, lookahead=3)
    within_limits(path, period_s)


@pytest.mark.parametrize("period_s", [0.05, 0.01, 0.002])
def test_random_gaps_are_bridged_within_limits_and_the_motion_goes_on(period_s):
    rng = np.random.default_rng(0)
    gaps = [int(gap) for gap in rng.choice([1, 1, 1, 2, 3, 4, 6, 21], 120)] + [1] * round(1.5 / period_s)
    path = followed(period_s, gaps, lookahead=3)
    within_limits(path, period_s)
    end = (1 + sum(gaps)) * period_s
    assert np.abs(path[-1] - swing(end)).max() < 0.02


def test_with_one_row_the_robot_stands_at_it():
    path = followed(0.05, [1, 1, 1, 30, 1, 1, 1], lookahead=0)
    velocity = np.diff(path[35:], axis=0) / 0.05  # from standing still on
    acceleration = np.diff(velocity, axis=0, prepend=np.zeros((1, 8))) / 0.05
    assert (np.abs(acceleration) <= LIMITS["acceleration"] * SLACK).all()


def moving(lookahead=3):
    """A filter in motion, called in time for ticks 0 to 9 of 20 Hz, and the asked rows of a tick."""

    def asked(tick):
        return np.stack([swing((tick + i) * 0.05) for i in range(lookahead + 1)])

    safety = SafetyFilter(PANDA, 0.05, 0.2)
    safety.reset(swing(-0.05))
    for tick in range(10):
        safety.filter(asked(tick), tick * TICK_NS, tick * TICK_NS, lookahead)
    return safety, asked


@pytest.mark.parametrize("lookahead", [0, 3])
def test_a_second_call_for_the_same_tick_takes_the_place_of_the_first(lookahead):
    safety, asked = moving(lookahead)
    first = safety.filter(asked(10), 10 * TICK_NS, 10 * TICK_NS, lookahead)
    for early_ns in (0, 1_000_000, -1_000_000):
        again = safety.filter(asked(10), 10 * TICK_NS, 10 * TICK_NS - early_ns, lookahead)
        assert (again.positions == first.positions).all()
    safety.filter(None, 10 * TICK_NS, 10 * TICK_NS, lookahead)
    back = safety.filter(asked(10), 10 * TICK_NS, 10 * TICK_NS, lookahead)
    assert (back.positions == first.positions).all()


def test_a_tick_that_is_heard_late_and_the_next_in_time_stay_on_the_grid():
    # Rounded, the late one counts as the next, and the next takes its place.
    in_time, asked = moving()
    late, _ = moving()
    in_time.filter(asked(10), 10 * TICK_NS, 10 * TICK_NS, 3)
    expected = in_time.filter(asked(11), 11 * TICK_NS, 11 * TICK_NS, 3)
    late.filter(asked(10), round(10.6 * TICK_NS), round(10.6 * TICK_NS), 3)
    np.testing.assert_allclose(
        late.filter(asked(11), 11 * TICK_NS, 11 * TICK_NS, 3).positions[0], expected.positions[0], atol=1e-12
    )


def test_a_clock_that_goes_back_ends_in_a_hold_and_the_motion_goes_on_from_there():
    safety, asked = moving()
    safety.filter(asked(10), 10 * TICK_NS, 10 * TICK_NS, 3)
    path = [swing(tick * 0.05) for tick in range(4, 10)]  # nobody knows how much of tick 10 there was
    for i in range(60):
        now_ns = (i - 10_000) * TICK_NS
        command = safety.filter(asked(11 + i), now_ns, now_ns, 3)
        assert command.report.held == (i == 0)
        assert command.report.causes == ("clock_back",) or i > 0
        path.append(command.positions[0])
    within_limits(np.stack(path), 0.05)
    np.testing.assert_allclose(path[-1], swing(70 * 0.05), atol=1e-9)


@pytest.mark.parametrize("lookahead", [0, 3])
def test_after_a_clock_that_goes_far_ahead_it_starts_from_rest_at_the_last_row(lookahead):
    safety, asked = moving(lookahead)
    last = safety.filter(asked(10), 10 * TICK_NS, 10 * TICK_NS, lookahead).positions[-1]
    now_ns = 10**18
    path = [last] * 3
    for i in range(60):
        path.append(safety.filter(asked(i), now_ns + i * TICK_NS, now_ns + i * TICK_NS, lookahead).positions[0])
    within_limits(np.stack(path), 0.05)
    np.testing.assert_allclose(path[-1], swing(59 * 0.05), atol=1e-9)


def test_the_report_of_a_late_command_is_that_of_one_in_time():
    in_time, asked = moving()
    late, _ = moving()
    for tick in (10, 11):
        in_time.filter(asked(tick), tick * TICK_NS, tick * TICK_NS, 3)
    expected = in_time.filter(asked(12), 12 * TICK_NS, 12 * TICK_NS, 3)
    command = late.filter(asked(12), 12 * TICK_NS, 12 * TICK_NS, 3)
    assert (command.positions == expected.positions).all()
    assert command.report == expected.report


def test_jitter_below_half_a_period_changes_nothing():
    def run(jitter_ns):
        safety = SafetyFilter(PANDA, 0.05, 0.2)
        safety.reset(swing(0.0))
        rng = np.random.default_rng(1)
        times = [50_000_000 * i + int(rng.uniform(-1, 1) * jitter_ns) for i in range(1, 60)]
        return [safety.filter(swing(0.05 * i)[None], now, now, 3).positions for i, now in enumerate(times)]

    for straight, shaken in zip(run(0), run(12_000_000), strict=True):
        assert np.array_equal(straight, shaken)


class FollowingRobot:
    """Passes the rows of its last command at their times; a new one replaces the older from its stamp on."""

    spec, lookahead = PANDA, 3

    def __init__(self, period_ns):
        self.period_ns, self.time_ns, self.reached = period_ns, 0, {}

    def now_ns(self) -> int:
        return self.time_ns

    def observe(self) -> Observation:
        return Observation(self.time_ns, {"observation.state": HOME.astype(np.float32)})

    def command(self, command: SafeCommand) -> None:
        assert command.stamp_ns % self.period_ns == 0
        tick = command.stamp_ns // self.period_ns
        # What has passed has passed: a row for the past is not followed.
        assert self.time_ns < command.stamp_ns + self.period_ns
        self.reached = {at: row for at, row in self.reached.items() if at <= tick}
        self.reached |= {tick + 1 + i: row for i, row in enumerate(command.positions)}

    def wait_until(self, deadline_ns: int) -> None:
        self.time_ns = max(self.time_ns, deadline_ns) + int(self.oversleep() * self.period_ns)

    def path(self) -> np.ndarray:
        """Where it was at every tick of the grid from -2 on."""
        rows = [swing(0.0)] * 3
        for tick in range(1, max(self.reached) + 1):
            rows.append(self.reached.get(tick, rows[-1]))
        return np.stack(rows)


class SlowSwing:
    """Swings by the time of the observation, and now and then thinks for longer than a period."""

    def __init__(self, robot, think):
        self.robot, self.think = robot, think

    def reset(self, seed: int) -> None:
        pass

    def act(self, observation: Observation) -> np.ndarray:
        tick = round(observation.stamp_ns / self.robot.period_ns)
        self.robot.time_ns += int(self.think() * self.robot.period_ns)
        return np.stack([swing((tick + 1 + i) * self.robot.period_ns * 1e-9) for i in range(4)])


@pytest.mark.parametrize("period_s", [0.05, 0.01, 0.002])
@pytest.mark.parametrize("late", ["thinking", "waking"])
def test_a_loop_that_is_late_keeps_the_grid_and_the_limits(period_s, late):
    random = np.random.default_rng(3)
    robot = FollowingRobot(round(period_s * 1e9))
    settled = 0

    def delay(kind):
        if kind != late or settled:
            return random.uniform(0, 0.4)
        return random.choice([0.1, 0.3, 0.8, 1.4, 2.6, 3.2, 5.7, 20.4], p=[0.3, 0.2, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05])

    robot.oversleep = lambda: delay("waking")
    loop = ControlLoop(robot, SlowSwing(robot, lambda: delay("thinking")), SafetyFilter(PANDA, period_s, 2.0))
    loop.reset(swing(0.0), seed=0)
    num = 100
    for _ in range(num):
        tick = loop.tick()
    assert loop.overruns > 50
    settled = 1
    for _ in range(round(1.5 / period_s)):
        tick = loop.tick()
    within_limits(robot.path(), period_s)
    np.testing.assert_allclose(tick.command.positions[0], tick.action, atol=1e-9)


def test_rows_that_thinking_has_used_up_are_dropped():
    robot = FollowingRobot(TICK_NS)
    robot.oversleep = lambda: 0.0
    delays = iter([0.5, 2.4, 0.0, 9.5, 0.0])
    loop = ControlLoop(robot, SlowSwing(robot, lambda: next(delays)), SafetyFilter(PANDA, 0.05, 2.0))
    loop.reset(swing(0.0), seed=0)
    ticks = [loop.tick() for _ in range(5)]
    assert [tick.command.stamp_ns // TICK_NS for tick in ticks] == [0, 3, 4, 14, 15]
    meant = [1, 4, 5, 9, 16]  # four rows are all there were from tick 5 on
    assert all((tick.action == swing(at * 0.05)).all() for tick, at in zip(ticks, meant, strict=True))
    assert loop.overruns == 2 + 9

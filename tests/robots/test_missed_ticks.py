"""Commands that come late: the robot has gone on along the last one, and what follows must be continuous with that."""

import numpy as np
import pytest

from praxon.robots.panda import PANDA
from praxon.robots.safety import SafetyFilter

HOME = np.array(PANDA.home)
LIMITS = {name: PANDA.limit(name) for name in ("velocity", "acceleration", "jerk", "lower", "upper")}
SLACK = 1 + 1e-6


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


def test_a_second_call_for_the_same_tick_or_a_clock_that_goes_back_advances_nothing():
    def rows(times_ns):
        safety = SafetyFilter(PANDA, 0.05, 10.0)
        safety.reset(HOME)
        return [safety.filter(swing(0.05 * i)[None], now, now, 3).positions[0] for i, now in enumerate(times_ns)]

    in_time = rows([0, 50_000_000, 100_000_000, 150_000_000])
    for strange in ([0, 50_000_000, 50_000_000, 100_000_000], [0, 50_000_000, 20_000_000, 70_000_000]):
        assert np.array_equal(rows(strange), in_time)


def test_jitter_below_half_a_period_changes_nothing():
    def run(jitter_ns):
        safety = SafetyFilter(PANDA, 0.05, 0.2)
        safety.reset(swing(0.0))
        rng = np.random.default_rng(1)
        times = [50_000_000 * i + int(rng.uniform(-1, 1) * jitter_ns) for i in range(1, 60)]
        return [safety.filter(swing(0.05 * i)[None], now, now, 3).positions for i, now in enumerate(times)]

    for straight, shaken in zip(run(0), run(12_000_000), strict=True):
        assert np.array_equal(straight, shaken)

"""SafetyFilter: whatever goes in, what comes out is inside every limit; what is inside comes out unchanged."""

from collections.abc import Iterator
from dataclasses import replace

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from praxon.errors import RobotError
from praxon.robots.base import SafeCommand
from praxon.robots.panda import PANDA
from praxon.robots.safety import TOLERANCE_M, SafetyFilter
from praxon.robots.spec import RobotSpec, Workspace

HOME = np.array(PANDA.home)
LOWER, UPPER = PANDA.limit("lower"), PANDA.limit("upper")
PERIODS = (0.05, 0.01, 0.002)
EASY = replace(PANDA, workspace=Workspace((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0)), self_distance_pairs=())
"""The Panda with nothing to run into: motion limits are all that acts."""


class Ticking(SafetyFilter):
    """Called once a period."""

    now_ns = 0

    def step(self, actions: np.ndarray | None, lookahead: int = 0, age_ns: int = 0) -> SafeCommand:
        command = self.filter(actions, self.now_ns - age_ns, self.now_ns, lookahead)
        self.now_ns += round(self.period_s * 1e9)
        return command


def run(safety: Ticking, start: np.ndarray, actions: list[np.ndarray | None], lookahead: int = 0) -> np.ndarray:
    """Row 0 of every command, (len(actions), num_joints)."""
    safety.reset(start)
    rows = [None if action is None else action[None] for action in actions]
    return np.array([safety.step(row, lookahead).positions[0] for row in rows])


def assert_inside(spec: RobotSpec, period_s: float, start: np.ndarray, positions: np.ndarray) -> None:
    """Every limit of the joints holds on a motion that starts from rest at ``start``."""
    assert (positions >= spec.limit("lower")).all()
    assert (positions <= spec.limit("upper")).all()
    motion = np.concatenate([np.repeat(start[None], 3, axis=0), positions])
    for order, quantity in enumerate(("velocity", "acceleration", "jerk"), start=1):
        derivative = np.abs(np.diff(motion, n=order, axis=0)) / period_s**order
        excess = (derivative / spec.limit(quantity)).max()
        assert excess <= 1 + 1e-6, f"{quantity} is {excess} of its limit"


def smooth(period_s: float, num: int) -> list[np.ndarray]:
    """A motion inside every limit of the Panda and its workspace, from rest at home."""
    time = np.arange(1, num + 1)[:, None] * period_s
    shares = np.array([0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2, -0.005])
    return list(HOME + shares * (1 - np.cos(1.5 * time)) / 2)


def hostile(random: np.random.Generator, num: int) -> Iterator[np.ndarray | None]:
    """Actions meant to break something: noise, jumps between limits, far outside, standing, nothing, no numbers."""
    kind, action = 0, HOME
    for _ in range(num):
        if random.random() < 0.1:
            kind = int(random.integers(7))
        if kind == 0:
            action = random.uniform(LOWER - 0.1, UPPER + 0.1)
        elif kind == 1:
            action = np.where(random.random(8) < 0.5, LOWER, UPPER)
        elif kind == 2:
            action = np.clip(action, LOWER, UPPER) + 0.05 * random.standard_normal(8)
        elif kind == 3 and random.random() < 0.2:
            action = random.uniform(LOWER, UPPER)
        elif kind == 4:
            action = 1e300 * random.standard_normal(8)
        elif kind == 5:
            yield None
            continue
        elif kind == 6 and random.random() < 0.5:
            yield np.full(8, random.choice([np.nan, np.inf]))
            continue
        yield action


class Reference:
    """Tool position and least distance of the pairs, from a model of the test's own."""

    def __init__(self, spec: RobotSpec) -> None:
        self.spec = spec
        self.model = spec.build("own").compile()
        self.data = mujoco.MjData(self.model)

    def at(self, positions: np.ndarray) -> tuple[float, float]:
        """How far the tool is inside the workspace, and what the closest pair has beyond its distance [m]."""
        for joint, position in zip(self.spec.joints, positions, strict=True):
            for name in (joint.name, *joint.mimics):
                self.data.joint(name).qpos = position
        mujoco.mj_forward(self.model, self.data)
        tool, box = self.data.site(self.spec.tool_site).xpos, self.spec.workspace
        inside = min((tool - box.lower).min(), (box.upper - tool).min())
        return inside, min(map(self._distance, self.spec.self_distance_pairs)) - self.spec.self_distance_m

    def _distance(self, pair: tuple[str, str]) -> float:
        first, second = (np.flatnonzero(self.model.geom_bodyid == self.model.body(name).id) for name in pair)
        return min(self._geom_distance(int(a), int(b)) for a in first for b in second)

    def _geom_distance(self, first: int, second: int) -> float:
        """MuJoCo's distance; its occasional 0 between boxes far apart (google-deepmind/mujoco#3383) goes with a nudge."""
        for _ in range(5):
            distance = mujoco.mj_geomDistance(self.model, self.data, first, second, 5.0, None)
            if distance != 0:
                break
            self.data.geom_xpos[first] += (1e-7, -2e-7, 3e-7)
        return distance


# -- motion limits ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), period_s=st.sampled_from(PERIODS))
def test_limits_hold_whatever_is_asked(seed, period_s):
    actions = list(hostile(np.random.default_rng(seed), 150))
    with np.errstate(all="raise", under="ignore"):
        assert_inside(EASY, period_s, HOME, run(Ticking(EASY, period_s, 0.2), HOME, actions))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), period_s=st.sampled_from(PERIODS))
def test_what_came_out_passes_unchanged(seed, period_s):
    released = run(Ticking(EASY, period_s, 0.2), HOME, list(hostile(np.random.default_rng(seed), 100)))
    assert (run(Ticking(EASY, period_s, 0.2), HOME, list(released)) == released).all()


@pytest.mark.parametrize("period_s", PERIODS)
def test_a_motion_inside_the_limits_is_unchanged_to_the_bit(period_s):
    safety = Ticking(PANDA, period_s, 0.2)
    safety.reset(HOME)
    for action in smooth(period_s, 200):
        command = safety.step(action[None])
        assert (command.positions == action).all()
        assert command.report.causes == ()
        assert command.report.deviation == 0
        assert not command.report.held


def test_causes_name_the_limit():
    def causes(joint: int, change: float, period_s: float = 0.05) -> tuple[str, ...]:
        safety = Ticking(EASY, period_s, 0.2)
        safety.reset(HOME)
        asked = HOME.copy()
        asked[joint] += change
        report = safety.step(asked[None]).report
        assert report.deviation > 0
        return report.causes

    # From rest, joint 1 may make 15 rad/s^2 * 0.05^2 s^2 = 0.0375 rad in its first step, and 2.175 * 0.05 = 0.109 ever.
    assert causes(0, 0.04) == ("acceleration",)
    assert causes(0, 0.12) == ("velocity", "acceleration")
    assert causes(7, 0.001) == ("position",)
    # The finger at 100 Hz: jerk allows 50 * 0.01^3 = 5e-5 m, acceleration 1e-4 m.
    assert causes(7, -8e-5, 0.01) == ("jerk",)


# -- refused input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "age_ns", "cause"),
    [
        (None, 0, "no_action"),
        (np.full((1, 8), np.nan), 0, "nonfinite"),
        (np.stack([HOME, np.full(8, np.inf)]), 0, "nonfinite"),
        (HOME[None], 200_000_001, "stale_observation"),
        (HOME[None], -200_000_001, "stale_observation"),
    ],
)
def test_refused_input_ends_in_a_hold_and_is_left_without_a_jump(actions, age_ns, cause):
    period_s, moving = 0.05, smooth(0.05, 20)
    safety = Ticking(PANDA, period_s, 0.2)
    rows = list(run(safety, HOME, moving))
    held = [safety.step(actions, age_ns=age_ns) for _ in range(10)]
    assert all(command.report.held and command.report.causes == (cause,) for command in held)
    rows += [command.positions[0] for command in held]
    assert (rows[-1] == rows[-2]).all()
    rows += [safety.step(HOME[None]).positions[0] for _ in range(40)]
    assert_inside(PANDA, period_s, HOME, np.array(rows))
    assert (rows[-1] == HOME).all()


def test_an_observation_of_the_allowed_age_is_fresh():
    safety = Ticking(PANDA, 0.05, 0.2)
    safety.reset(HOME)
    assert not safety.step(HOME[None], age_ns=200_000_000).report.held


def test_wrong_use_is_refused_with_a_sentence():
    safety = Ticking(PANDA, 0.05, 0.2)
    with pytest.raises(RobotError, match="reset"):
        safety.step(HOME[None])
    with pytest.raises(RobotError, match=r"shape \(7,\)"):
        safety.reset(HOME[:7])
    with pytest.raises(RobotError, match=r"'panda_joint2' .* is at 2;.*-1.7628 and 1.7628"):
        safety.reset(np.array([0, 2.0, 0, -2, 0, 2, 0, 0.04]))
    with pytest.raises(RobotError, match="is at nan"):
        safety.reset(np.full(8, np.nan))
    safety.reset(HOME)
    for wrong in (HOME, HOME[None, :7], np.zeros((0, 8))):
        with pytest.raises(RobotError, match="shape"):
            safety.step(wrong)


def test_a_start_outside_by_a_hair_is_clamped():
    safety = Ticking(PANDA, 0.05, 0.2)
    safety.reset(np.append(HOME[:7], 0.0403))
    assert safety.step(None).positions[0, 7] == 0.04


# -- the preview ------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), period_s=st.sampled_from((0.05, 0.01)))
def test_a_preview_stays_inside_and_ends_at_rest(seed, period_s):
    random = np.random.default_rng(seed)
    safety = Ticking(PANDA, period_s, 0.2)
    safety.reset(HOME)
    done: list[np.ndarray] = []
    for action in hostile(random, 25):
        rows = None if action is None else np.stack([action, *random.uniform(LOWER, UPPER, (5, 8))])
        command = safety.step(rows, lookahead=4)
        assert_inside(PANDA, period_s, HOME, np.array(done + list(command.positions)))
        assert (command.velocities[-1] == 0).all()
        assert len(command.positions) == 1 or (command.positions[-1] == command.positions[-2]).all()
        assert (np.abs(command.velocities) <= PANDA.limit("velocity") * (1 + 1e-9)).all()
        done.append(command.positions[0])


def test_a_preview_is_not_remembered():
    actions = list(hostile(np.random.default_rng(3), 60))
    without = run(Ticking(PANDA, 0.05, 0.2), HOME, actions)
    assert (run(Ticking(PANDA, 0.05, 0.2), HOME, actions, lookahead=3) == without).all()


def test_preview_rows_are_the_actions_and_then_what_a_hold_does():
    safety, actions = Ticking(PANDA, 0.05, 0.2), smooth(0.05, 24)
    run(safety, HOME, actions[:20])
    command = safety.step(np.array(actions[20:]), lookahead=2)
    assert (command.positions[:3] == np.array(actions[20:23])).all()
    expected = np.diff(np.array(actions[19:23]), axis=0) / 0.05
    np.testing.assert_allclose(command.velocities[:2], (expected[:-1] + expected[1:]) / 2, atol=1e-12)
    for action in actions[21:23]:
        safety.step(action[None])
    for row in command.positions[3:]:
        np.testing.assert_allclose(safety.step(None).positions[0], row, atol=1e-9)


# -- workspace and self-distance ----------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), period_s=st.sampled_from(PERIODS))
def test_the_tool_never_leaves_and_bodies_never_meet(seed, period_s):
    reference, random = Reference(PANDA), np.random.default_rng(seed)
    released = run(Ticking(PANDA, period_s, 0.2), HOME, list(hostile(random, 120)))
    assert_inside(PANDA, period_s, HOME, released)
    assert min(min(reference.at(row)) for row in released) >= -TOLERANCE_M - 1e-6


@pytest.mark.parametrize(("joint", "target"), [(0, 1.5), (1, 1.5), (3, -0.5), (3, -3.0)])
def test_a_wall_is_approached_and_not_passed(joint, target):
    reference, asked = Reference(PANDA), HOME.copy()
    asked[joint] = target
    assert reference.at(asked)[0] < 0
    safety = Ticking(PANDA, 0.05, 0.2)
    released = run(safety, HOME, [asked] * 60)
    inside = [reference.at(row)[0] for row in released]
    assert min(inside) >= -TOLERANCE_M
    assert inside[-1] <= 0.01
    assert safety.step(asked[None]).report.causes[-1] == "workspace"
    back = [safety.step(HOME[None]).positions[0] for _ in range(60)]
    assert (back[-1] == HOME).all()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_bodies_keep_their_distance_without_a_workspace(seed):
    spec = replace(EASY, self_distance_pairs=PANDA.self_distance_pairs)
    reference, random = Reference(spec), np.random.default_rng(seed)
    folded = np.array([0, -1.2, 0, -3.0, 0, 0.0, 0, 0.04])
    actions = [folded + 0.3 * random.standard_normal(8) * (k % 9 == 0) for k in range(40)] + list(hostile(random, 60))
    released = run(Ticking(spec, 0.05, 0.2), HOME, actions)
    assert min(reference.at(row)[1] for row in released) >= -TOLERANCE_M - 1e-6


def test_self_collision_is_the_cause_named():
    spec = replace(EASY, self_distance_pairs=PANDA.self_distance_pairs)
    folded = np.array([0, -1.7, 0, -3.0, 0, -0.01, 0, 0.04])
    assert Reference(spec).at(folded)[1] < 0
    safety = Ticking(spec, 0.05, 0.2)
    run(safety, HOME, [folded] * 60)
    assert "self_distance" in safety.step(folded[None]).report.causes


def test_from_outside_the_way_in_is_open_and_the_way_out_is_not():
    reference, start = Reference(PANDA), HOME.copy()
    start[0] = 1.4
    outside = reference.at(start)[0]
    assert outside < -0.05
    further = start.copy()
    further[0] = 1.6
    safety = Ticking(PANDA, 0.05, 0.2)
    stays = run(safety, start, [further] * 30)
    assert min(reference.at(row)[0] for row in stays) >= outside - TOLERANCE_M
    inwards = run(safety, start, [HOME] * 60)
    margins = np.minimum([reference.at(row)[0] for row in inwards], 0)
    assert (np.diff(margins) >= -TOLERANCE_M).all()
    assert (inwards[-1] == HOME).all()


def test_names_that_are_not_in_the_model_are_refused():
    with pytest.raises(RobotError, match=r"site 'tol' .*Did you mean 'tool'"):
        Ticking(replace(PANDA, tool_site="tol"), 0.05, 0.2)
    with pytest.raises(RobotError, match=r"body 'hnd' .*Did you mean 'hand'.*link0"):
        Ticking(replace(PANDA, self_distance_pairs=(("hnd", "link0"),)), 0.05, 0.2)


def test_a_filter_that_was_restored_goes_on_as_if_nothing_had_been_asked_in_between():
    random = np.random.default_rng(7)
    asked = list(hostile(random, 60))
    plain = run(Ticking(PANDA, 0.05, 0.2), HOME, asked)
    safety, found = Ticking(PANDA, 0.05, 0.2), []
    safety.reset(HOME)
    for action in asked:
        kept, now_ns = safety.snapshot(), safety.now_ns
        for other in hostile(random, 3):
            safety.step(None if other is None else other[None])
        safety.restore(kept)
        safety.now_ns = now_ns
        for before, after in zip(kept.measured, safety.snapshot().measured, strict=True):
            np.testing.assert_array_equal(after, before)
        found.append(safety.step(None if action is None else action[None]).positions[0])
    np.testing.assert_array_equal(found, plain)

"""SafetyFilter: what every command passes. Motion limits, workspace, self-distance, refused input; no off switch."""

from typing import NamedTuple

import numpy as np

from praxon.errors import RobotError
from praxon.robots.base import SafeCommand, SafetyReport
from praxon.robots.clearance import CAUSES, Clearance
from praxon.robots.limits import Motion, MotionLimits
from praxon.robots.spec import RobotSpec

TOLERANCE_M = 0.001
"""How far the tool may leave the workspace, or self-distance fall short, between configurations checked [m]."""

# A measured start may be outside its limits by this share of the range (encoder offset, gravity) and is then clamped.
_START_TOLERANCE = 0.01
# Steps towards the asked motion tried when it may not be taken in full; the share released is a multiple of 1/8.
_SHARES = np.arange(1, 9)[:, None] / 8


class _State(NamedTuple):
    """The reference after a row, and what the next row depends on besides.

    ``asked`` is the last asked row inside the position limits, None when there was none or it was refused. ``floor``
    (2,) [m] is the margin below which no motion may go: zero, or less while the robot is on its way in from outside.
    """

    motion: Motion
    asked: np.ndarray | None
    floor: np.ndarray


class _Released(NamedTuple):
    """The last command: when it was issued, the state ``before`` its row 0, those of its rows, and how it brakes.

    ``states`` belong to row 0 and the preview; ``braking`` (num_rows, num_joints) are the positions of the rows after.
    """

    stamp_ns: int
    before: _State
    states: tuple[_State, ...]
    braking: np.ndarray

    def reached(self, ticks: int, period_s: float) -> _State:
        """The state of a robot that has followed this command for ``ticks`` periods; it rests where the rows end."""
        if ticks == 0:
            return self.before
        if ticks <= len(self.states):
            return self.states[ticks - 1]
        motion, floor = self.states[-1].motion, self.states[-1].floor
        steps = ticks - len(self.states)
        for position in self.braking[:steps]:
            motion = motion.to(position, period_s)
        return _State(motion if steps <= len(self.braking) else Motion.rest(motion.position), None, floor)


class FilterState(NamedTuple):
    """All that a filter remembers between two calls."""

    start: _State | None
    released: _Released | None
    measured: tuple[np.ndarray, np.ndarray]


class SafetyFilter:
    """Turns asked joint positions into a command that keeps every limit of the robot.

    *Motion.* See ``MotionLimits``: position, velocity, acceleration and jerk of the reference stay inside their limits
    at every step and while braking, whatever is asked. What is inside passes to the bit, except that a joint that fell
    behind what was asked rejoins it only at a speed from which it can stay with it.

    *Workspace and self-distance.* A step is released only if the robot could brake from there to rest without leaving
    the workspace or bringing bodies too close. Then braking is itself a step that may be released next time, whatever
    is asked, and so the tool never leaves: the backup trajectory of Wabersich and Zeilinger, "Linear model predictive
    safety certification for learning-based control", CDC 2018. A step that fails is scaled back towards braking. From a
    start outside, motion may do anything but make it worse.

    *Missed ticks.* A robot that hears nothing goes on along the rows of its last command and rests where they end. The
    next command starts from the row it has reached by then, so that it is as continuous as one that is in time.

    *Input.* No action, a number that is not finite, an observation that is too old or a clock that went back ends in a
    hold: brake, then stay.

    Args:
        spec: the robot.
        period_s: time between the rows of a command, and between calls of ``filter`` where no tick is missed [s].
        max_observation_age_s: an action is refused if its observation is older, or further in the future [s].

    Raises:
        RobotError: a name in the specification is not in the model, or the limits contradict each other.
    """

    def __init__(self, spec: RobotSpec, period_s: float, max_observation_age_s: float) -> None:
        self.spec = spec
        self.period_s = period_s
        self.max_observation_age_s = max_observation_age_s
        self._limits = MotionLimits(spec, period_s)
        self._clearance = Clearance(spec)
        self._max_age_ns = round(max_observation_age_s * 1e9)
        self._period_ns = round(period_s * 1e9)
        self._start: _State | None = None
        self._released: _Released | None = None

    def reset(self, positions: np.ndarray) -> None:
        """Start from rest at measured ``positions`` (num_joints,).

        Raises:
            RobotError: wrong shape, not finite, or further outside the limits than measurement explains.
        """
        positions = np.array(positions, np.float64)
        if positions.shape != (len(self.spec.joints),):
            raise RobotError(
                f"The safety filter of '{self.spec.name}' starts from {len(self.spec.joints)} joint positions; "
                f"got an array of shape {positions.shape}."
            )
        lower, upper = self._limits.lower, self._limits.upper
        allowed = _START_TOLERANCE * (upper - lower)
        for index in np.flatnonzero(~((positions >= lower - allowed) & (positions <= upper + allowed))):
            raise RobotError(
                f"Joint '{self.spec.joint_names[index]}' of '{self.spec.name}' is at {positions[index]:g}; the safety "
                f"filter starts between {lower[index]:g} and {upper[index]:g}."
            )
        motion = Motion.rest(np.clip(positions, lower, upper))
        self._start = _State(motion, None, np.minimum(self._clearance.measure(motion.position), 0.0))
        self._released = None

    def snapshot(self) -> FilterState:
        """What ``restore`` takes."""
        return FilterState(self._start, self._released, self._clearance.snapshot())

    def restore(self, state: FilterState) -> None:
        """Go on from a ``snapshot``, as if nothing had been filtered since."""
        self._start, self._released = state.start, state.released
        self._clearance.restore(state.measured)

    def filter(
        self, actions: np.ndarray | None, observation_stamp_ns: int, now_ns: int, lookahead: int = 0
    ) -> SafeCommand:
        """The command for this tick.

        Args:
            actions: (K, num_joints) asked positions in the order of the RobotSpec [rad or m]; row 0 is for this tick,
                further rows are a preview. None when the agent has nothing to say.
            observation_stamp_ns: stamp of the observation they are based on [ns].
            now_ns: tick on the same clock for which the command is issued, its stamp [ns]. The whole periods since the
                last command, rounded, say how far the robot has come along it. Zero: this command takes the place of
                the last. Less: the clock went back; so it does, and the action is refused.
            lookahead: rows of preview wanted after row 0. With 0 the command is row 0 alone and its velocity that of
                the step. Otherwise braking rows follow the preview until the robot rests, and velocities are those of
                a smooth curve through the positions: the mean of the steps before and after a row, zero at the last.

        Returns:
            The command, whose rows are remembered as what the robot does until the next.

        Raises:
            RobotError: ``reset`` was not called, or ``actions`` has another shape.
        """
        ticks = self._ticks_since_released(now_ns)
        before = self._reached(max(ticks, 0))
        asked, refused = self._accepted(actions, observation_stamp_ns, now_ns)
        if ticks < 0:
            asked, refused = None, refused or "clock_back"
        causes: tuple[str, ...]
        if asked is None:
            causes, state = (refused,), _State(self._limits.brake(before.motion), None, before.floor)
            deviation = 0.0
        else:
            causes, state = self._step(before, asked[0])
            deviation = float(np.abs(state.motion.position - asked[0]).max()) if causes else 0.0
        if lookahead > 0:
            states, braking = self._preview(state, asked, lookahead)
            positions, velocities = self._rows(before.motion, states, braking)
        else:
            states, braking = (state,), state.motion.position[:0]
            positions, velocities = state.motion.position[None].copy(), state.motion.velocity[None].copy()
        self._released = _Released(now_ns, before, states, braking)
        report = SafetyReport(causes, deviation, held=asked is None)
        return SafeCommand(now_ns, self.period_s, positions, velocities, report)

    def _ticks_since_released(self, now_ns: int) -> int:
        """Periods since the last command, to the nearest: real clocks jitter around the grid."""
        if self._released is None:
            return 0
        return (now_ns - self._released.stamp_ns + self._period_ns // 2) // self._period_ns

    def _reached(self, ticks: int) -> _State:
        """Where the reference is so many periods after the last command."""
        if self._released is not None:
            return self._released.reached(ticks, self.period_s)
        if self._start is None:
            raise RobotError(
                f"The safety filter of '{self.spec.name}' has not been told where the robot is; call reset."
            )
        return self._start

    # -- one step ---------------------------------------------------------------------------------

    def _accepted(self, actions: np.ndarray | None, stamp_ns: int, now_ns: int) -> tuple[np.ndarray | None, str]:
        """The asked rows as float64, or None and why they are refused."""
        if actions is None:
            return None, "no_action"
        asked = np.asarray(actions, np.float64)
        if asked.ndim != 2 or asked.shape[0] == 0 or asked.shape[1] != len(self.spec.joints):
            raise RobotError(
                f"Actions for '{self.spec.name}' have the shape (rows, {len(self.spec.joints)}); got {asked.shape}."
            )
        if not np.isfinite(asked).all():
            return None, "nonfinite"
        if abs(now_ns - stamp_ns) > self._max_age_ns:
            return None, "stale_observation"
        return asked, ""

    def _step(self, state: _State, asked: np.ndarray) -> tuple[tuple[str, ...], _State]:
        """The state after one asked row (num_joints,), and the names of the checks that changed it."""
        limits, before = self._limits, state.motion
        target = np.minimum(np.maximum(asked, limits.lower), limits.upper)
        causes: tuple[str, ...] = () if (target == asked).all() else ("position",)
        tracking = state.asked is None or (before.position == state.asked).all()
        motion = before.to(target, self.period_s)
        travel = limits.travel(motion)
        if not (tracking and limits.admits(before, motion, travel)):
            motion = limits.approach(before, target, state.asked)
            travel = limits.travel(motion)
            if (motion.position != target).any():
                causes += tuple(name for name in limits.broken_by(before, target) if name not in causes)
        if not self._clearance.covers(motion.position, travel):
            self._clearance.measure(motion.position, travel)
            if not self._clearance.covers(motion.position, travel):
                failed, motion, floor = self._scale_back(state, motion)
                return causes + failed, _State(motion, target, floor)
        return causes, _State(motion, target, np.zeros(2))

    def _scale_back(self, state: _State, motion: Motion) -> tuple[tuple[str, ...], Motion, np.ndarray]:
        """The largest share of a step that the robot can brake from without leaving; causes, the step, the new floor.

        Bisects eight shares between braking at once, which is known to be allowed, and the step in full.
        """
        braking = self._limits.brake(state.motion)
        candidates = self._limits.between(braking, motion, _SHARES, state.motion)
        paths = self._limits.brake_path(candidates)
        causes: tuple[str, ...] = ()
        released, floor = -1, state.floor
        tried, good, bad = len(_SHARES) - 1, -1, len(_SHARES)
        while bad - good > 1:
            lowest = self._clearance.lowest(paths[:, tried], state.floor, TOLERANCE_M)
            if (lowest >= state.floor).all():
                released, good, floor = tried, tried, np.minimum(lowest, 0.0)
            else:
                causes = causes or tuple(name for name, low in zip(CAUSES, lowest < state.floor, strict=True) if low)
                bad = tried
            tried = (good + bad) // 2
        if not causes:
            return causes, motion, floor
        if released < 0:
            return causes, braking, floor
        return causes, Motion(*(part[released] for part in candidates)), floor

    # -- the preview ------------------------------------------------------------------------------

    def _preview(
        self, state: _State, asked: np.ndarray | None, lookahead: int
    ) -> tuple[tuple[_State, ...], np.ndarray]:
        """``state`` and those of the asked rows as far as wanted; then positions (num_rows, num_joints) up to rest."""
        states = [state]
        for row in () if asked is None else asked[1 : lookahead + 1]:
            _, state = self._step(state, row)
            states.append(state)
        return tuple(states), self._limits.brake_path(state.motion)[1:]

    def _rows(self, before: Motion, states: tuple[_State, ...], braking: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities (K, num_joints) of a command."""
        positions = np.concatenate([np.stack([state.motion.position for state in states]), braking])
        steps = np.diff(positions, axis=0, prepend=before.position[None]) / self.period_s
        velocities = np.zeros_like(steps)
        velocities[:-1] = (steps[:-1] + steps[1:]) / 2
        return positions, velocities

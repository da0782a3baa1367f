"""MotionLimits: position, velocity, acceleration and jerk of a joint reference, kept now and for ever after."""

from typing import NamedTuple

import numpy as np

from praxon.errors import RobotError
from praxon.robots.spec import RobotSpec

# Slack for rounding when an asked velocity is compared with its interval, relative to one step's change of velocity.
_ROUNDING = 1e-9


class Motion(NamedTuple):
    """State of the reference after a step; arrays (..., num_joints) in [rad or m], [1/s] and [1/s^2] of it."""

    position: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray

    @classmethod
    def rest(cls, position: np.ndarray) -> "Motion":
        """Standing still."""
        return cls(position, np.zeros_like(position), np.zeros_like(position))

    def to(self, position: np.ndarray, period_s: float) -> "Motion":
        """The state after one step to ``position``, by backward differences."""
        velocity = (position - self.position) / period_s
        return Motion(position, velocity, (velocity - self.velocity) / period_s)

    @property
    def at_rest(self) -> bool:
        """Neither moving nor about to."""
        return not (self.velocity.any() or self.acceleration.any())


class MotionLimits:
    r"""Which next velocities keep every limit, now and for ever after.

    With period T the reference obeys q' = q + T v', a' = (v' - v)/T, j' = (a' - a)/T. The limits V, A, J allow

        |v'| <= V,    |v' - v| <= A T,    |v' - v - T a| <= J T^2.

    Staying inside at this step is not enough: a joint must also be able to stop before its limits. The states from
    which that is possible are found by braking as hard as allowed, a_i = max(a' - i J T, -A), i = 1, 2, ... No other
    motion is ever lower, so a state can be saved from the upper limit exactly when this motion saves it.

    *Velocity.* v' + T sum_{i<=m} (a' - i J T) <= V for all m reads (m+1) x - s m(m+1)/2 <= D with x = v' - v,
    D = V - v, s = J T^2. The tightest m is the largest with s m(m+1)/2 <= D, hence

        x <= D/(m+1) + s m/2,    m = floor((sqrt(1 + 8 D/s) - 1)/2).                                     (first_step)

    *Position.* After k further steps the reference is at q + T sum_{i<=k} v_i. Each a_i is the larger of two affine
    functions, so this is the largest of the affine functions in which the first p - 1 steps still ramp and the others
    brake with -A. With W = sum_{i<min(p,k+1)} (k-i+1), M = sum_{i<min(p,k+1)} i (k-i+1), R = k(k+1)/2 - W, the bound
    q_k <= upper is

        v' <= ((upper - q)/T + W v + M J T^2 + R A T) / (k + 1 + W)    for every k >= 0, 1 <= p <= ceil(2A/(J T)).

    Lower limits are the mirror image. Each bound alone leaves hardest braking allowed. Two opposite bounds could
    exclude each other only if the hardest braking went from below one limit to above the other; starting with a' <= A
    it gains at most A^2/(2J) in velocity and 2A^3/(3J^2) + T A^2/(2J) in position. Limits further apart than that are
    demanded here; then the interval is never empty, and since no bound is stricter than needed, every motion that
    stays inside the limits passes unchanged.

    Args:
        spec: robot whose joints' limits are meant.
        period_s: T [s].
    """

    def __init__(self, spec: RobotSpec, period_s: float) -> None:
        if not period_s > 0:
            raise RobotError(f"The control period of '{spec.name}' is {period_s} s; it must be positive.")
        self.period_s = period_s
        self.lower, self.upper = spec.limit("lower"), spec.limit("upper")
        self.velocity, self.acceleration, self.jerk = (spec.limit(n) for n in ("velocity", "acceleration", "jerk"))
        self._check(spec)
        self._accelerate = self.acceleration * period_s
        self._ramp = self.jerk * period_s**2
        self._slack = _ROUNDING * np.minimum(self._accelerate, self._ramp)
        # Where one step may turn full acceleration into full braking, jerk plays no part.
        binds = self.jerk * period_s < 2 * self.acceleration
        self._coast = np.where(binds, 0.5 / self.jerk, 0.0)
        self._delay = np.where(binds, 2.5 * self.acceleration / self.jerk + 2 * period_s, 0.0)
        self._approach = np.where(binds, 0.5, 1.0) * self._accelerate
        self._settle = np.where(binds, np.ceil(2 * self._accelerate / self._ramp), 1.0)
        self._half_inverse = 0.5 / self.acceleration
        self._bounds = np.stack([self.velocity, self.acceleration, self.jerk]) * (1 + _ROUNDING)
        self._faces = self._position_faces()

    def travel(self, motion: Motion) -> np.ndarray:
        """How far each joint can still move while it brakes, an upper bound of cheap form [rad or m].

        With w = |v| + a^2/(2J) the fastest it gets: w^2/(2A), and w times the time that jerk adds, at most
        A/J + |a|/J to begin, A/(2J) to end softly, and a sample at either end.
        """
        fastest = np.abs(motion.velocity) + motion.acceleration**2 * self._coast
        return fastest * (fastest * self._half_inverse + self._delay)

    def admits(self, before: Motion, after: Motion, travel: np.ndarray) -> bool:
        """Whether ``after`` certainly keeps every limit, by bounds that are quick and sufficient but not necessary.

        ``travel`` is ``self.travel(after)``.
        """
        jerk = (after.acceleration - before.acceleration) / self.period_s
        fastest = np.abs(after.velocity) + after.acceleration**2 * self._coast
        observed = np.array([fastest, np.abs(after.acceleration), np.abs(jerk)])
        return bool(
            (observed <= self._bounds).all()
            and (after.position + travel <= self.upper).all()
            and (after.position - travel >= self.lower).all()
        )

    def approach(self, before: Motion, target: np.ndarray, previous_target: np.ndarray | None) -> Motion:
        """One step towards ``target`` (num_joints,), which lies inside the position limits.

        A joint that was where it was asked to be goes to its target to the bit whenever the limits let it. One that
        fell behind catches up: in the frame of the target, which moves on as it did since ``previous_target`` (None:
        it stands), the gap is closed as fast as the joint can slow down again, so that it does not run past.
        """
        asked = (target - before.position) / self.period_s
        behind = np.zeros(target.shape, bool) if previous_target is None else before.position != previous_target
        moving = 0.0 if previous_target is None else (target - previous_target) / self.period_s
        goal = np.clip(moving, -self.velocity, self.velocity)
        nearest = self._nearest(before, asked)
        allowed = np.abs(nearest - asked) <= self._slack
        arrives = allowed & (~behind | self._can_stay(before, asked, goal))
        velocity = self._nearest(before, self._catch_up(before.velocity, asked - goal, goal))
        return before.to(np.where(arrives, target, self._moved(before, velocity)), self.period_s)

    def brake(self, before: Motion) -> Motion:
        """One step of the quickest way to rest; works on batches (..., num_joints)."""
        velocity = self._nearest(before, self._braked(before.velocity))
        return before.to(self._moved(before, velocity), self.period_s)

    def brake_path(self, motion: Motion) -> np.ndarray:
        """Positions from ``motion`` to rest by ``brake``, (num_rows, ..., num_joints); row 0 is that of ``motion``."""
        positions, period_s = [motion.position], self.period_s
        travel = self.travel(motion)
        room = np.minimum(self.upper - motion.position, motion.position - self.lower)
        if (travel > room).any():
            while not motion.at_rest:
                motion = self.brake(motion)
                positions.append(motion.position)
            return np.stack(positions)
        # Far from position limits, and braking meets no velocity limit: little of the interval is left to compute.
        position, velocity, change = motion.position, motion.velocity, motion.acceleration * period_s
        while velocity.any() or change.any():
            wanted = self._braked(velocity) - velocity
            low = np.maximum(change - self._ramp, -self._accelerate)
            change = np.clip(wanted, low, np.minimum(change + self._ramp, self._accelerate))
            velocity = velocity + change
            position = position + velocity * period_s
            positions.append(position)
        return np.stack(positions)

    def between(self, first: Motion, second: Motion, share: np.ndarray, before: Motion) -> Motion:
        """Steps a ``share`` (batch, 1) of the way from ``first`` to ``second``, both allowed after ``before``."""
        position = first.position + share * (second.position - first.position)
        return before.to(position, self.period_s)

    def broken_by(self, before: Motion, target: np.ndarray) -> tuple[str, ...]:
        """Names of the limits that a step to ``target`` would break, now or because it could not slow down in time.

        'catch_up' alone: it would break none, but joints that are behind their target arrive more gently.
        """
        asked = before.to(target, self.period_s)
        jerk = (asked.acceleration - before.acceleration) / self.period_s
        observed = np.abs(np.array([asked.velocity, asked.acceleration, jerk]))
        names = np.array(["velocity", "acceleration", "jerk"])
        broken = tuple(names[(observed > self._bounds).any(axis=1)].tolist())
        if broken:
            return broken
        low, high = self._dynamic_interval(before)
        if ((asked.velocity < low - self._slack) | (asked.velocity > high + self._slack)).any():
            return ("velocity",)
        stops = np.abs(self._nearest(before, asked.velocity) - asked.velocity) <= self._slack
        return ("catch_up",) if stops.all() else ("position",)

    def _braked(self, velocity: np.ndarray) -> np.ndarray:
        """Next velocity on the quickest way to rest if only jerk were limited: ``first_step``, D = |v|, s = J T^2."""
        speed = np.abs(velocity)
        return np.sign(velocity) * (speed - _first_step(speed, self._ramp))

    # -- catching up ------------------------------------------------------------------------------

    def _catch_up(self, velocity: np.ndarray, gap: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Next velocity of joints that are ``gap`` [rad/s or m/s] times T short of a target moving at ``goal``.

        The velocity wanted over the gap is ``first_step`` with s = A T, or half that where jerk delays braking; close
        to the target it is the gap over N steps, the steps in which jerk takes acceleration from A to -A. It is
        approached by ``first_step`` with s = J T^2.
        """
        distance, steps = np.abs(gap), self._settle
        offset = self._approach * steps * (steps - 1) / 2
        far = distance > self._approach * steps**2
        wanted = np.where(far, _first_step(distance - offset, self._approach), distance / steps)
        change = goal + np.sign(gap) * wanted - velocity
        return velocity + np.sign(change) * _first_step(np.abs(change), self._ramp)

    def _can_stay(self, before: Motion, asked: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Where a step at velocity ``asked`` may be followed by steps at ``goal``, (num_joints,) of bool."""
        arrive = asked - before.velocity
        stay = goal - asked
        return (
            (np.abs(stay) <= self._accelerate + self._slack)
            & (np.abs(stay - arrive) <= self._ramp + self._slack)
            & (np.abs(stay) <= self._ramp + self._slack)
        )

    # -- the interval -----------------------------------------------------------------------------

    def _dynamic_interval(self, before: Motion) -> tuple[np.ndarray, np.ndarray]:
        """The interval without regard to position limits."""
        _, velocity, acceleration = before
        drift = acceleration * self.period_s
        up = np.minimum(self._accelerate, drift + self._ramp)
        down = np.maximum(-self._accelerate, drift - self._ramp)
        up = np.minimum(up, _first_step(self.velocity - velocity, self._ramp))
        down = np.maximum(down, -_first_step(self.velocity + velocity, self._ramp))
        return velocity + down, velocity + up

    def _nearest(self, before: Motion, velocity: np.ndarray) -> np.ndarray:
        """The allowed velocity nearest to the asked one; position limits are evaluated only for joints near them."""
        low, high = self._dynamic_interval(before)
        nearest = np.clip(velocity, low, high)
        after = before.to(before.position + nearest * self.period_s, self.period_s)
        travel = self.travel(after)
        for index in zip(*np.nonzero(after.position + travel > self.upper), strict=True):
            room = self.upper[index[-1]] - before.position[index]
            nearest[index] = min(nearest[index], self._ceiling(index[-1], room, before.velocity[index]))
        for index in zip(*np.nonzero(after.position - travel < self.lower), strict=True):
            room = before.position[index] - self.lower[index[-1]]
            nearest[index] = max(nearest[index], -self._ceiling(index[-1], room, -before.velocity[index]))
        return nearest

    def _moved(self, before: Motion, velocity: np.ndarray) -> np.ndarray:
        """Where a velocity leads; the limits are met to the bit, the last of which rounding could lose."""
        return np.clip(before.position + velocity * self.period_s, self.lower, self.upper)

    def _ceiling(self, joint: int, room: float, velocity: float) -> float:
        """Largest next velocity from which the joint still stops within ``room``."""
        faces = self._faces[joint]
        return float((faces[0] * (room / self.period_s) + faces[1] * velocity + faces[2]).min())

    def _position_faces(self) -> list[np.ndarray]:
        """Per joint (3, num_faces): factors of room/T and of v, and the constant, of each position bound."""
        faces = []
        for fastest, accelerate, ramp in zip(self.velocity, self._accelerate, self._ramp, strict=True):
            num_ramps = max(1, int(np.ceil(2 * accelerate / ramp)))
            num_steps = num_ramps + int(np.ceil(fastest / accelerate))
            k, p = np.meshgrid(np.arange(num_steps + 1.0), np.arange(1.0, num_ramps + 1), indexing="ij")
            k, p = k[p <= k + 1], p[p <= k + 1]
            n = np.minimum(p - 1, k)
            weight = n * (k + 1) - n * (n + 1) / 2
            moment = n * (n + 1) / 2 * (k + 1) - n * (n + 1) * (2 * n + 1) / 6
            rest = k * (k + 1) / 2 - weight
            faces.append(np.stack([np.ones_like(k), weight, moment * ramp + rest * accelerate]) / (k + 1 + weight))
        return faces

    def _check(self, spec: RobotSpec) -> None:
        """Refuse limits under which a joint could be caught between two bounds."""
        need_velocity = self.acceleration**2 / (2 * self.jerk)
        need_range = 2 * self.acceleration**3 / (3 * self.jerk**2) + self.period_s * need_velocity
        for i, joint in enumerate(spec.joints):
            if self.velocity[i] < need_velocity[i] or self.upper[i] - self.lower[i] < need_range[i]:
                raise RobotError(
                    f"Joint '{joint.name}' of '{spec.name}' cannot be kept inside a velocity of {self.velocity[i]:g} "
                    f"and a range of {self.upper[i] - self.lower[i]:g} with a jerk of {self.jerk[i]:g}; at that jerk "
                    f"they must be at least {need_velocity[i]:g} and {need_range[i]:g}."
                )


def _first_step(distance: np.ndarray, decrease: np.ndarray) -> np.ndarray:
    """Largest x whose sequence x, x - s, x - 2s, ... adds up to no more than ``distance`` before it turns negative."""
    distance = np.maximum(distance, 0.0)
    more = np.floor((np.sqrt(1 + 8 * distance / decrease) - 1) / 2)
    return distance / (more + 1) + decrease * more / 2

"""Where to push a block next: contacts all around it, several directions, every length, rolled out and compared."""

from dataclasses import dataclass

import numpy as np

from praxon.sim.planar_pushing import PlanarPushing


@dataclass(frozen=True, eq=False)
class Push:
    """A straight push of the pusher's centre.

    Args:
        pose: (3,) of the block for which it was planned [m, m, rad].
        start: (2,) where it begins [m].
        direction: (2,) unit vector.
        length: from ``start`` [m].
        gain: rate at which the block is predicted to near its goal, in e-foldings of the distance [1/s].
    """

    pose: np.ndarray
    start: np.ndarray
    direction: np.ndarray
    length: float
    gain: float


@dataclass(frozen=True, eq=False)
class PushPlanner:
    """Greedy search for the push that brings a block toward its goal fastest.

    Distance between poses is the root mean square distance between corresponding points of the block: with poses at the
    centroid, e^2 = |dp|^2 + 2 g^2 (1 - cos dyaw), g the radius of gyration. When to leave a push for the next is a
    forager's question, answered by the marginal value theorem (E. Charnov, Theor. Popul. Biol. 9, 1976): as soon as
    staying gains less per second than the whole push, with the way to it, was worth.

    Args:
        model: how the block moves.
        outline: (V, 2) corners counter-clockwise in the block's frame, whose origin is its centroid [m].
        gyration: radius of gyration g of its area [m].
        goal: (3,) pose to reach [m, m, rad].
        lower, upper: (2,) corners of the rectangle that the pusher's centre may not leave [m].
        accuracy: distance from the goal below which being nearer is worth little [m].
        push_speed: [m/s].
        travel_speed: between pushes [m/s].
        relocate_s: to lift, lower and settle between pushes [s].
        brake_s: that the end of a push takes beyond its length at ``push_speed`` [s].
    """

    model: PlanarPushing
    outline: np.ndarray
    gyration: float
    goal: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    accuracy: float = 0.002
    push_speed: float = 0.2
    travel_speed: float = 0.3
    relocate_s: float = 1.0
    brake_s: float = 0.15

    SPACING_M = 0.01
    """Between contacts along an edge."""
    ANGLES = np.radians([-40.0, -20.0, 0.0, 20.0, 40.0])
    """Directions of a push from the edge's normal."""
    CORRECTIONS = np.radians([-30.0, -15.0, -5.0, 0.0, 5.0, 15.0, 30.0])
    """Changes of direction considered while pushing."""
    CLEARANCE_M = 0.01
    """Between block and pusher where a push starts."""
    STEPS_M = (0.0005, 0.003)
    """Shortest and longest step of a rollout."""
    NUM_STEPS = 30

    def distance(self, poses: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Root mean square distance between blocks at (..., 3) and one at (3,), (...) [m]."""
        apart = ((poses[..., :2] - other[:2]) ** 2).sum(axis=-1)
        return np.sqrt(apart + 2 * self.gyration**2 * (1 - np.cos(poses[..., 2] - other[2])))

    def plan(self, pose: np.ndarray, tool: np.ndarray, rng: np.random.Generator) -> Push | None:
        """The push that nears the goal fastest, the way to its start included; None when no push helps.

        Args:
            pose: (3,) of the block.
            tool: (2,) where the pusher is now [m].
            rng: shifts contacts and directions, so that no two plans are blind to the same push.
        """
        starts, directions = self._candidates(pose, rng)
        away = np.linalg.norm(starts - tool, axis=1)
        seconds = self.relocate_s + self.brake_s + away / self.travel_speed
        lengths, _, gains = self._roll(pose, starts, directions, self.NUM_STEPS, seconds)
        if not (gains > 0).any():
            return None
        index, which = np.unravel_index(gains.argmax(), gains.shape)
        return Push(pose, starts[which], directions[which], float(lengths[index, which]), float(gains[index, which]))

    def follow(self, pose: np.ndarray, tool: np.ndarray, push: Push) -> Push | None:
        """The push continued from where block and pusher are now, its direction corrected; None when it is not worth it.

        ``gain`` of the result stays that of the plan: what the next push is expected to be worth.
        """
        directions = np.stack([_rotation(angle) @ push.direction for angle in self.CORRECTIONS])
        starts = np.repeat(tool[None], len(directions), axis=0)
        num_steps = int(np.clip(1.3 * push.length / self._step(pose), 8, self.NUM_STEPS))
        lengths, distances, gains = self._roll(
            pose, starts, directions, num_steps, np.full(len(directions), self.brake_s)
        )
        if gains.max() < push.gain:
            return None
        index, which = np.unravel_index(np.where(np.isfinite(gains), distances, np.inf).argmin(), gains.shape)
        return Push(pose, tool, directions[which], float(lengths[index, which]), push.gain)

    def _roll(
        self, pose: np.ndarray, starts: np.ndarray, directions: np.ndarray, num_steps: int, seconds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pushes (N, 2) that cost ``seconds`` (N,) besides their length: length, distance then, gain, each (S, N).

        The gain of pushes that end outside the rectangle is minus infinity.
        """
        step = self._step(pose)
        gap = self.model.gap(pose, starts, directions, 3 * self.CLEARANCE_M)
        poses = self.model.roll(pose, starts + directions * gap[:, None], directions * step, num_steps)[1:]
        lengths = gap + step * np.arange(1, num_steps + 1)[:, None]
        distances = self.distance(poses, self.goal)
        shrink = np.log((self.distance(pose, self.goal) + self.accuracy) / (distances + self.accuracy))
        inside = self._inside(starts + directions * lengths[..., None])
        return lengths, distances, np.where(inside, shrink / (seconds + lengths / self.push_speed), -np.inf)

    def _step(self, pose: np.ndarray) -> float:
        """Step of a rollout: fine near the goal [m]."""
        return float(np.clip(self.distance(pose, self.goal) / 20, *self.STEPS_M))

    def _candidates(self, pose: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Where pushes may start and their directions, (N, 2) each: at every edge, clear of the block, inside the rectangle."""
        turn = _rotation(pose[2])
        phase, tilt = rng.uniform(0, 1), rng.uniform(-0.5, 0.5) * np.radians(20)
        starts, directions = [], []
        for begin, end in zip(self.outline, np.roll(self.outline, -1, axis=0), strict=True):
            length = float(np.linalg.norm(end - begin))
            count = max(2, round(length / self.SPACING_M))
            points = pose[:2] + (begin + (end - begin) * ((np.arange(count) + phase) / count)[:, None]) @ turn.T
            inward = turn @ _rotation(np.pi / 2) @ (end - begin) / length
            back_off = self.model.support(inward) + self.CLEARANCE_M
            for angle in self.ANGLES + tilt:
                direction = _rotation(angle) @ inward
                starts.append(points - direction * (back_off / np.cos(angle)))
                directions.append(np.repeat(direction[None], count, axis=0))
        all_starts, all_directions = np.concatenate(starts), np.concatenate(directions)
        free = self._inside(all_starts) & (self.model.depth(pose, all_starts) < -0.6 * self.CLEARANCE_M)
        return all_starts[free], all_directions[free]

    def _inside(self, points: np.ndarray) -> np.ndarray:
        return np.all((points > self.lower) & (points < self.upper), axis=-1)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

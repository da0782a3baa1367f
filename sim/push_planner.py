"""Where to push a block next: contacts all around it, several directions, every length, rolled out and compared."""

from dataclasses import dataclass

import numpy as np

from praxon.sim.planar_pushing import PlanarPushing


@dataclass(frozen=True)
class Push:
    """A straight push of the pusher's centre.

    Args:
        pose: (3,) of the block for which it was planned [m, m, rad].
        start: (2,) where it begins, clear of the block [m].
        direction: (2,) unit vector.
        length: from ``start`` [m].
        error: predicted distance of the block from its goal afterwards [m].
        gain: predicted rate at which that distance shrinks, in e-foldings per second [1/s].
    """

    pose: np.ndarray
    start: np.ndarray
    direction: np.ndarray
    length: float
    error: float
    gain: float


@dataclass(frozen=True, eq=False)
class PushPlanner:
    """Greedy search for the push that brings a block toward its goal fastest.

    Distance between poses is the root mean square distance between corresponding points of the block: with poses at the
    centroid, e^2 = |dp|^2 + 2 g^2 (1 - cos dyaw), g the radius of gyration.

    Args:
        model: how the block moves.
        outline: (V, 2) corners counter-clockwise in the block's frame, whose origin is its centroid [m].
        gyration: radius of gyration g of its area [m].
        goal: (3,) pose to reach [m, m, rad].
        lower, upper: (2,) corners of the rectangle that the pusher's centre may not leave [m].
        accuracy: distance from the goal below which being nearer is not worth much [m].
        push_speed: [m/s].
    """

    model: PlanarPushing
    outline: np.ndarray
    gyration: float
    goal: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    accuracy: float = 0.0015
    push_speed: float = 0.15

    SPACING_M = 0.01
    ANGLES = np.radians([-40.0, -20.0, 0.0, 20.0, 40.0])
    FAN = np.radians([-30.0, -15.0, -5.0, 0.0, 5.0, 15.0, 30.0])
    CLEARANCE_M = 0.01
    MAX_STEP_M = 0.003
    MIN_STEP_M = 0.0005
    RELOCATE_S = 0.8
    TRAVEL_M_S = 0.3

    def error(self, poses: np.ndarray) -> np.ndarray:
        """Distance of poses (..., 3) from the goal [m]."""
        away = ((poses[..., :2] - self.goal[:2]) ** 2).sum(axis=-1)
        return np.sqrt(away + 2 * self.gyration**2 * (1 - np.cos(poses[..., 2] - self.goal[2])))

    def plan(self, pose: np.ndarray, tool: np.ndarray) -> Push:
        """The best push of the block at ``pose`` (3,) for a pusher that is now at ``tool`` (2,), in the air or not."""
        starts, directions = self._candidates(pose)
        travel = self.RELOCATE_S + np.linalg.norm(starts - tool, axis=1) / self.TRAVEL_M_S
        return self._best(pose, starts, directions, 30, travel)

    def follow(self, pose: np.ndarray, tool: np.ndarray, push: Push) -> Push:
        """The push continued from where block and pusher are now, its direction corrected."""
        directions = np.stack([_rotation(angle) @ push.direction for angle in self.FAN])
        return self._best(pose, np.repeat(tool[None], len(directions), axis=0), directions, 12, np.full(len(directions), 0.15), True)

    def _best(
        self, pose: np.ndarray, starts: np.ndarray, directions: np.ndarray, num_steps: int, seconds: np.ndarray, nearest: bool = False
    ) -> Push:
        """The fastest way toward the goal among pushes from (N, 2) that begin after ``seconds`` (N,)."""
        before = float(self.error(pose))
        step = float(np.clip(before / 20, self.MIN_STEP_M, self.MAX_STEP_M))
        gap = self.model.gap(pose, starts, directions, 3 * self.CLEARANCE_M)
        poses = self.model.roll(pose, starts + directions * gap[:, None], directions * step, num_steps)[1:]
        lengths = gap + step * np.arange(1, num_steps + 1)[:, None]
        errors = self.error(poses)
        gains = np.log((before + self.accuracy) / (errors + self.accuracy)) / (seconds + lengths / self.push_speed)
        ends = starts + directions * lengths[..., None]
        gains[~self._inside(ends)] = -np.inf
        if nearest:
            errors[~self._inside(ends)] = np.inf
            index, which = np.unravel_index(errors.argmin(), gains.shape)
        else:
            index, which = np.unravel_index(gains.argmax(), gains.shape)
        return Push(
            pose, starts[which], directions[which], float(lengths[index, which]), float(errors[index, which]), float(gains[index, which])
        )

    def _candidates(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where pushes may start and their directions, (N, 2) each: every edge, clear of the block, inside the rectangle."""
        turn = _rotation(pose[2])
        starts, directions = [], []
        for begin, end in zip(self.outline, np.roll(self.outline, -1, axis=0), strict=True):
            length = float(np.linalg.norm(end - begin))
            count = max(2, round(length / self.SPACING_M))
            points = pose[:2] + (begin + (end - begin) * ((np.arange(count) + 0.5) / count)[:, None]) @ turn.T
            inward = turn @ _rotation(np.pi / 2) @ (end - begin) / length
            support = self.model.support(inward)
            for angle in self.ANGLES:
                direction = _rotation(angle) @ inward
                starts.append(points - direction * (support + self.CLEARANCE_M) / np.cos(angle))
                directions.append(np.repeat(direction[None], count, axis=0))
        all_starts, all_directions = np.concatenate(starts), np.concatenate(directions)
        free = self._inside(all_starts) & (self.model.depth(pose, all_starts) < -0.6 * self.CLEARANCE_M)
        return all_starts[free], all_directions[free]

    def _inside(self, points: np.ndarray) -> np.ndarray:
        return ((points > self.lower) & (points < self.upper)).all(axis=-1)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

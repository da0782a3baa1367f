"""Where to push a block next: every contact around it, several directions, all lengths, rolled out and compared."""

from dataclasses import dataclass

import numpy as np

from praxon.sim.planar_pushing import PlanarPushing


@dataclass(frozen=True)
class Push:
    """A straight push of the pusher's centre.

    Args:
        start: (2,) where it begins, clear of the block [m].
        direction: (2,) unit vector.
        length: from ``start`` [m].
        error: predicted distance of the block from its goal afterwards [m].
    """

    start: np.ndarray
    direction: np.ndarray
    length: float
    error: float


class PushPlanner:
    """Greedy search: the push that brings the block toward its goal fastest.

    Distance between poses is the root mean square distance between corresponding points of the block: with the frame at
    the centroid, e^2 = |dp|^2 + 2 g^2 (1 - cos dyaw), g the radius of gyration.
    """

    SPACING_M = 0.01
    ANGLES = np.radians([-40.0, -20.0, 0.0, 20.0, 40.0])
    CLEARANCE_M = 0.006
    TRAVEL_S, TRAVEL_M_S, PUSH_M_S = 1.0, 0.4, 0.1

    def __init__(
        self, model: PlanarPushing, outline: np.ndarray, gyration: float, goal: np.ndarray,
        lower: np.ndarray, upper: np.ndarray,
    ) -> None:
        self.model = model
        self.gyration = gyration
        self.goal = goal
        self.lower, self.upper = lower, upper
        self._starts, self._directions = self._candidates(outline)

    def error(self, poses: np.ndarray) -> np.ndarray:
        """Distance of poses (..., 3) from the goal [m]."""
        away = ((poses[..., :2] - self.goal[:2]) ** 2).sum(axis=-1)
        return np.sqrt(away + 2 * self.gyration**2 * (1 - np.cos(poses[..., 2] - self.goal[2])))

    def plan(self, pose: np.ndarray, tool: np.ndarray) -> Push:
        turn = _rotation(pose[2])
        starts = pose[:2] + self._starts @ turn.T
        directions = self._directions @ turn.T
        # Back off until clear: the pusher's orientation relative to the block changes from case to case.
        starts = starts - directions * (self.CLEARANCE_M + np.abs(directions) @ np.array(self.model.pusher))[:, None]
        free = self.model.depth(pose, starts) < -0.7 * self.CLEARANCE_M
        free &= ((starts > self.lower) & (starts < self.upper)).all(axis=1)
        starts, directions = starts[free], directions[free]
        before = float(self.error(pose))
        step = float(np.clip(before / 25, 0.0006, 0.003))
        gap = 2 * self.CLEARANCE_M
        num = 30
        # First up to the block, in coarse steps; contact is met within them.
        pushers = starts + directions * self.CLEARANCE_M * 0.9
        poses = self.model.roll(pose, pushers, directions * step, num)
        errors = self.error(poses)
        lengths = self.CLEARANCE_M * 0.9 + step * np.arange(num + 1)
        travel = np.linalg.norm(starts - tool, axis=1) / self.TRAVEL_M_S + self.TRAVEL_S
        seconds = travel + lengths[:, None] / self.PUSH_M_S
        gain = (before - errors) / seconds
        ends = starts + directions * lengths[:, None, None]
        gain[~((ends > self.lower) & (ends < self.upper)).all(axis=2)] = -1
        best = np.unravel_index(gain.argmax(), gain.shape)
        return Push(starts[best[1]], directions[best[1]], float(lengths[best[0]]), float(errors[best]))

    FAN = np.radians([-30.0, -15.0, -5, 0.0, 5, 15.0, 30.0])

    def follow(self, pose: np.ndarray, tool: np.ndarray, push: Push) -> Push:
        """Continue the push from here: small corrections of direction."""
        before = float(self.error(pose))
        cos, sin = np.cos(self.FAN), np.sin(self.FAN)
        dx, dy = push.direction
        directions = np.stack([cos * dx - sin * dy, sin * dx + cos * dy], axis=1)
        num = 12
        step = float(np.clip(1.5*before / num, 0.0005, 0.003))
        pushers = np.repeat(tool[None], len(directions), 0)
        poses = self.model.roll(pose, pushers, directions * step, num)
        errors = self.error(poses)
        best = np.unravel_index(errors.argmin(), errors.shape)
        return Push(tool, directions[best[1]], float(step * best[0]), float(errors[best]))

    def _candidates(self, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts, directions = [], []
        for begin, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            edge = end - begin
            length = float(np.linalg.norm(edge))
            inward = np.array([-edge[1], edge[0]]) / length
            count = max(2, round(length / self.SPACING_M))
            for share in (np.arange(count) + 0.5) / count:
                for angle in self.ANGLES:
                    starts.append(begin + share * edge)
                    directions.append(_rotation(angle) @ inward)
        return np.array(starts), np.array(directions)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

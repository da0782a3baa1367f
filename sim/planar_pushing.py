"""Quasi-static planar pushing: how a block made of boxes slides on a table under a pusher with a box cross-section.

At pushing speeds friction with the table outweighs inertia, so the block moves only while pushed, and how it moves
follows from the limit surface, approximated by an ellipsoid: friction opposes a twist (vx, vy, w) in the block's frame
with a wrench (fx, fy, m), and vx : vy : w = fx : fy : m / c^2, where c is the distance of m_max / f_max [m].

Each small step moves the pusher and then takes the block out of it at the deepest contact with the force that, on the
ellipsoid and inside the friction cone, gives the contact point the pusher's motion (sticking), or with a force on the
edge of the cone (sliding). A second round finds the other end of a flush contact.

Source: K. Lynch, H. Maekawa, K. Tanie, "Manipulation and active sensing by pushing using tactile feedback", IROS 1992.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_ROUNDS = 2
"""Contacts resolved per step: two ends of a flush contact."""


@dataclass(frozen=True, eq=False)
class PlanarPushing:
    """A block and a pusher. Poses are (x, y, yaw) of the block's centre of friction [m, m, rad].

    Args:
        boxes: (K, 4) centre and half sizes (x, y, half x, half y) in the block's frame [m]. Neighbours should overlap, so
            that no seam inside the block is taken for a face.
        corners: (V, 2) the block's convex corners in its frame [m].
        pusher: (half x, half y) of the pusher's cross-section [m].
        pusher_yaw: its constant yaw [rad].
        radius: characteristic length c of the block's friction [m].
        friction: coefficient between block and pusher.
    """

    boxes: np.ndarray
    corners: np.ndarray
    pusher: tuple[float, float]
    pusher_yaw: float
    radius: float
    friction: float

    def roll(self, poses: np.ndarray, pushers: np.ndarray, steps: np.ndarray, num_steps: int) -> np.ndarray:
        """Push along straight lines.

        Args:
            poses: (N, 3) or (3,) where the block is.
            pushers: (N, 2) where the pusher's centre is [m].
            steps: (N, 2) how far the pusher moves each step [m]; a few millimetres.
            num_steps: S.

        Returns:
            (S + 1, N, 3) poses of the block, the given ones first.
        """
        count = len(pushers)
        x, y, yaw = (np.broadcast_to(value, count).astype(float) for value in poses.T)
        history = np.empty((num_steps + 1, count, 3))
        history[0, :, 0], history[0, :, 1], history[0, :, 2] = x, y, yaw
        px, py = pushers.T.astype(float)
        dx, dy = steps.T
        for index in range(1, num_steps + 1):
            px, py = px + dx, py + dy
            x, y, yaw = self._step(x, y, yaw, px, py, dx, dy)
            history[index, :, 0], history[index, :, 1], history[index, :, 2] = x, y, yaw
        return history

    def depth(self, poses: np.ndarray, pushers: np.ndarray) -> np.ndarray:
        """How deep pushers (N, 2) lie in blocks (N, 3) or (3,): (N,) [m], negative where they are apart.

        Apart, the magnitude is a lower bound of the distance.
        """
        x, y, yaw = poses.T
        return self._deepest(*_into(x, y, yaw, *pushers.T), yaw)[0]

    def support(self, direction: np.ndarray) -> float:
        """How far the pusher extends from its centre along a unit vector (2,) [m]."""
        cos, sin = np.cos(self.pusher_yaw), np.sin(self.pusher_yaw)
        x, y = cos * direction[0] + sin * direction[1], cos * direction[1] - sin * direction[0]
        return float(self.pusher[0] * abs(x) + self.pusher[1] * abs(y))

    def gap(self, pose: np.ndarray, pushers: np.ndarray, directions: np.ndarray, reach: float) -> np.ndarray:
        """How far pushers (N, 2) can move along unit vectors (N, 2) before they touch the block at (3,): (N,) [m].

        By sphere tracing; at most ``reach``, to within a tenth of a millimetre.
        """
        way = np.zeros(len(pushers))
        for _ in range(8):
            way = np.minimum(way + np.maximum(-self.depth(pose, pushers + directions * way[:, None]), 0), reach)
        return way

    # -- one step ---------------------------------------------------------------------------------

    def _step(
        self,
        x: np.ndarray,
        y: np.ndarray,
        yaw: np.ndarray,
        px: np.ndarray,
        py: np.ndarray,
        dx: np.ndarray,
        dy: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Block poses after the pushers moved to (px, py) by (dx, dy); all (N,)."""
        moved_x = moved_y = turned = np.zeros(len(px))  # of the block in this step, in its own frame
        inverse = 1 / self.radius**2
        for _ in range(_ROUNDS):
            cos, sin = np.cos(yaw), np.sin(yaw)
            depth, contact_x, contact_y, nx, ny = self._deepest(*_into(x, y, yaw, px, py), yaw)
            if not (depth > 0).any():
                break
            # Everything below in the contact's frame: n into the block, t to the left of it.
            step_x, step_y = cos * dx + sin * dy, cos * dy - sin * dx
            step_n, step_t = step_x * nx + step_y * ny, step_y * nx - step_x * ny
            gone_x, gone_y = moved_x - turned * contact_y, moved_y + turned * contact_x
            gone_n, gone_t = gone_x * nx + gone_y * ny, gone_y * nx - gone_x * ny
            in_contact = np.clip((depth + gone_n) / np.maximum(step_n, 1e-9), 0, 1)
            want_n, want_t = depth, step_t * in_contact - gone_t
            at_n, at_t = contact_x * nx + contact_y * ny, contact_y * nx - contact_x * ny
            # Contact displacement = A force, A = 1 + c^-2 [[at_t^2, -at_n at_t], [-at_n at_t, at_n^2]].
            mixed = inverse * at_n * at_t
            a_nn, a_tt = 1 + inverse * at_t**2, 1 + inverse * at_n**2
            determinant = a_nn * a_tt - mixed**2
            force_n = (a_tt * want_n + mixed * want_t) / determinant
            force_t = (mixed * want_n + a_nn * want_t) / determinant
            edge = np.copysign(self.friction, force_t)
            slides = np.abs(force_t) > self.friction * force_n
            force_n = np.where(slides, want_n / np.maximum(a_nn - edge * mixed, 0.1), force_n)
            force_t = np.where(slides, edge * force_n, force_t)
            active = depth > 0
            force_n, force_t = force_n * active, force_t * active
            fx, fy = force_n * nx - force_t * ny, force_n * ny + force_t * nx
            turn = inverse * (at_n * force_t - at_t * force_n)
            x, y, yaw = x + cos * fx - sin * fy, y + sin * fx + cos * fy, yaw + turn
            moved_x, moved_y, turned = moved_x + fx, moved_y + fy, turned + turn
        return x, y, yaw

    def _deepest(self, qx: np.ndarray, qy: np.ndarray, yaw: np.ndarray) -> tuple[np.ndarray, ...]:
        """Deepest contact of pushers at (qx, qy) in the block's frame: depth, point and direction into the block, (N,)."""
        angle = self.pusher_yaw - yaw
        a, b = np.cos(angle), np.sin(angle)
        # Pusher corners in the block's boxes.
        kx = qx + a * self._pusher_x - b * self._pusher_y
        ky = qy + b * self._pusher_x + a * self._pusher_y
        best = np.full(kx.shape, -np.inf)
        normal_x, normal_y = np.zeros(kx.shape), np.zeros(kx.shape)
        for cx, cy, hx, hy in self.boxes:
            rx, ry = kx - cx, ky - cy
            ex, ey = hx - np.abs(rx), hy - np.abs(ry)
            through_x = ex < ey
            depth = np.where(through_x, ex, ey)
            sx, sy = np.where(through_x, -np.sign(rx), 0.0), np.where(through_x, 0.0, -np.sign(ry))
            deeper = depth > best
            best = np.where(deeper, depth, best)
            normal_x, normal_y = np.where(deeper, sx, normal_x), np.where(deeper, sy, normal_y)
        # Block corners in the pusher.
        rx, ry = self._corner_x - qx, self._corner_y - qy
        ux, uy = a * rx + b * ry, a * ry - b * rx
        ex, ey = self.pusher[0] - np.abs(ux), self.pusher[1] - np.abs(uy)
        through_x = ex < ey
        sx, sy = np.where(through_x, np.sign(ux), 0.0), np.where(through_x, 0.0, np.sign(uy))
        shape = ux.shape
        every = (
            np.concatenate([best, np.where(through_x, ex, ey)]),
            np.concatenate([kx, np.broadcast_to(self._corner_x, shape)]),
            np.concatenate([ky, np.broadcast_to(self._corner_y, shape)]),
            np.concatenate([normal_x, a * sx - b * sy]),
            np.concatenate([normal_y, b * sx + a * sy]),
        )
        deepest = every[0].argmax(axis=0)
        columns = np.arange(len(deepest))
        return tuple(values[deepest, columns] for values in every)

    @cached_property
    def _pusher_x(self) -> np.ndarray:
        return self.pusher[0] * np.array([[1.0], [-1], [-1], [1]])

    @cached_property
    def _pusher_y(self) -> np.ndarray:
        return self.pusher[1] * np.array([[1.0], [1], [-1], [-1]])

    @cached_property
    def _corner_x(self) -> np.ndarray:
        return self.corners[:, :1]

    @cached_property
    def _corner_y(self) -> np.ndarray:
        return self.corners[:, 1:]


def _into(
    x: np.ndarray, y: np.ndarray, yaw: np.ndarray, px: np.ndarray, py: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (px, py) in the frame of blocks at (x, y, yaw)."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    rx, ry = px - x, py - y
    return cos * rx + sin * ry, cos * ry - sin * rx

"""Symmetry: by which motions of its objects a task may be carried over to another start, stated by the task itself.

A transform is a motion of the table's plane, mirrored or not, with a shift in height besides. Whether a demonstration
still solves the task afterwards is not argued here but tried, by replaying it (sim/replay.py). After Corrado et al.,
"Guided Data Augmentation for Offline Reinforcement Learning and Imitation Learning", arXiv 2310.18247.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from praxon.errors import ConfigError

_MIRROR = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Transform:
    """p -> Rz(angle) M p + shift in the base frame, with M = diag(1, -1, 1) where mirrored, else the identity.

    Args:
        angle: about the vertical through the base's origin, counter-clockwise seen from above [rad].
        shift: (x, y, z) [m].
        mirrored: first in the plane y = 0, left against right of the robot.
    """

    angle: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mirrored: bool = False

    def __matmul__(self, first: "Transform") -> "Transform":
        """The transform that does ``first`` and then this one."""
        # M Rz(a) = Rz(-a) M, so a mirror turns the angle of what came before it.
        angle = self.angle + (-first.angle if self.mirrored else first.angle)
        shift = self.position(np.array(first.shift))
        return Transform(angle, (shift[0], shift[1], shift[2]), self.mirrored != first.mirrored)

    def inverse(self) -> "Transform":
        """The transform that undoes this one."""
        back = Transform(self.angle if self.mirrored else -self.angle, mirrored=self.mirrored)
        shift = back.position(-np.array(self.shift))
        return Transform(back.angle, (shift[0], shift[1], shift[2]), self.mirrored)

    def position(self, points: np.ndarray) -> np.ndarray:
        """Where points (..., 3) [m] go."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        points = points * _MIRROR if self.mirrored else points
        return points @ turn.T + np.array(self.shift)

    def yaw(self, yaw: np.ndarray | float) -> np.ndarray | float:
        """What rotations about the vertical become [rad]; a mirrored body is one with a mirror plane of its own, its xz."""
        return self.angle + (-yaw if self.mirrored else yaw)

    def pose(self, pose: np.ndarray, plane: float = 0.0) -> np.ndarray:
        """What a body's pose (x, y, z, qw, qx, qy, qz) becomes, qw >= 0.

        Args:
            pose: in the base frame.
            plane: yaw in the body's frame of the vertical plane in which the body is its own mirror image [rad].
        """
        rotation = pose[3:]
        if self.mirrored:
            # A rotation about an axis, seen in a mirror: the axis is mirrored and the sense turned round.
            rotation = rotation * np.array([1.0, -1.0, 1.0, -1.0])
            rotation = _product(rotation, _about_vertical(-2 * plane))
        rotation = _product(_about_vertical(self.angle), rotation)
        return np.concatenate([self.position(pose[:3]), rotation if rotation[0] >= 0 else -rotation])

    def to_plain(self) -> dict[str, object]:
        """As JSON holds it."""
        return {"angle": float(self.angle), "shift": [float(value) for value in self.shift], "mirrored": self.mirrored}


IDENTITY = Transform()


@dataclass(frozen=True)
class Anchor:
    """A body that part of the motion goes with.

    Args:
        body: its name, one of the task's ``objects``.
        near_m: distance of the tool from where the body lies at the start [m] within which the motion is tied to it
            rigidly; outside, the way there is stretched.
        round: the body looks the same from all sides; it then turns with the body before it.
        plane: yaw in the body's frame of the vertical plane in which the body is its own mirror image [rad].
    """

    body: str
    near_m: float = 0.05
    round: bool = False
    plane: float = 0.0


@dataclass(frozen=True)
class Symmetry:
    """What a task declares: its demonstrations may be carried over to any start that its ``place`` can draw.

    The motion is tied to the anchors one after the other, each of them moved by a transform of its own: a cube to be
    grasped, then the marker it is to be put on. From the robot's start to the first anchor, and from each to the next,
    the way is stretched. After the last anchor is reached the motion stays with it.

    Args:
        anchors: in the order in which the tool comes to them.
        mirror: the mirror image of a demonstration is one too.
    """

    anchors: tuple[Anchor, ...]
    mirror: bool = False

    def __post_init__(self) -> None:
        if not self.anchors:
            raise ConfigError("A symmetry needs at least one anchor; a task without symmetry declares None.")

    def transforms(
        self, here: Mapping[str, np.ndarray], there: Mapping[str, np.ndarray], mirrored: bool = False
    ) -> tuple[Transform, ...]:
        """For each anchor the transform that takes it from its pose ``here`` to its pose ``there``, upright bodies assumed.

        Args:
            here, there: pose (x, y, z, qw, qx, qy, qz) of each anchor's body in the base frame.
            mirrored: with a mirror in between.
        """
        found: list[Transform] = []
        for anchor in self.anchors:
            start, end = here[anchor.body], there[anchor.body]
            turned = Transform(mirrored=mirrored).pose(start, anchor.plane)
            if anchor.round:
                angle = found[-1].angle if found else 0.0
            else:
                angle = _wrap(_yaw(end) - _yaw(turned))
            shift = end[:3] - Transform(angle, mirrored=mirrored).position(start[:3])
            found.append(Transform(angle, (float(shift[0]), float(shift[1]), float(shift[2])), mirrored))
        return tuple(found)


def _yaw(pose: np.ndarray) -> float:
    w, x, y, z = pose[3:]
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def _wrap(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _about_vertical(angle: float) -> np.ndarray:
    return np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)])


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Product of two quaternions (w, x, y, z)."""
    w, x, y, z = left
    return np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]]) @ right

"""ToolPath: where a demonstration sends the tool, tick by tick, and the same motion carried over to another start."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from praxon.errors import RobotError
from praxon.robots.spec import RobotSpec, Workspace
from praxon.sim.expert import ToolControl
from praxon.sim.symmetry import IDENTITY, Anchor, Transform

TURN_M_RAD = 0.15
"""What a turn of the tool counts as when the length of a way is measured [m/rad]."""


@dataclass(frozen=True)
class ToolPath:
    """Row 0 is where the tool stands at the start; row k + 1 is where the action of tick k sends it.

    Args:
        positions: (T + 1, 3) of the tool site in the base frame [m].
        yaws: (T + 1,) of the fingers about the vertical, without jumps [rad]; the tool's axis points down.
        grippers: (T + 1,) of the gripper joint [m].
        lead_m: how far an action sends the tool from where it is, at most [m].
    """

    positions: np.ndarray
    yaws: np.ndarray
    grippers: np.ndarray
    lead_m: float

    def __len__(self) -> int:
        return len(self.positions)

    def leaves(self, workspace: Workspace) -> bool:
        """Whether the tool is sent out of the workspace."""
        lower, upper = np.array(workspace.lower), np.array(workspace.upper)
        return bool(((self.positions < lower) | (self.positions > upper)).any())

    def distance(self, point: np.ndarray, row: int, rows: int = 6) -> float:
        """How far ``point`` (3,) is off the way on the last ``rows`` rows up to ``row`` [m]: servos lag behind."""
        return _distance_to_line(point, self.positions[max(0, row - rows) : row + 1])


def tool_path(control: ToolControl, robot: RobotSpec, states: np.ndarray, actions: np.ndarray) -> ToolPath:
    """The tool path of a demonstration: joint positions and joint targets, both (T, num_joints)."""
    rows = np.concatenate([states[:1], actions]).astype(np.float64)
    positions, yaws = _tool_poses(control, rows)
    measured, _ = _tool_poses(control, states.astype(np.float64))
    gripper = rows[:, robot.index(robot.gripper)] if robot.gripper is not None else np.zeros(len(rows))
    lead = float(np.linalg.norm(positions[1:] - measured, axis=1).max())
    return ToolPath(positions, np.unwrap(yaws), gripper, lead)


def carried(
    path: ToolPath, anchors: Sequence[Anchor], places: Sequence[np.ndarray], transforms: Sequence[Transform]
) -> ToolPath:
    """The motion with each anchor moved by its transform, the robot's start left where it is.

    Near an anchor the motion is moved rigidly with it. In between, the displacement goes over from that of the part
    before to that of the part after in proportion to the way gone, so that straight ways stay straight and head for
    their new end from the beginning, as the demonstrator's would. A way that becomes longer takes longer in the same
    proportion: speeds are the demonstrator's.

    Args:
        path: of the demonstration.
        anchors: in the order in which the tool comes to them.
        places: (3,) where each anchor's body lies at the start of the demonstration [m].
        transforms: of each anchor.

    Raises:
        RobotError: the tool never comes near an anchor.
    """
    parts = _parts(path, anchors, places)
    moved, turned = np.zeros_like(path.positions), np.zeros(len(path))
    rigid = np.zeros(len(path), bool)
    for (first, last), transform in zip(parts, (IDENTITY, *transforms), strict=True):
        rows = slice(first, last + 1)
        rigid[rows] = True
        moved[rows] = transform.position(path.positions[rows]) - path.positions[rows]
        turned[rows] = _wrap(np.asarray(transform.yaw(path.yaws[rows])) - path.yaws[rows])
    gone = _lengths(path.positions, path.yaws)
    for axis in range(3):
        moved[:, axis] = np.interp(gone, gone[rigid], moved[rigid, axis])
    turned = np.interp(gone, gone[rigid], np.unwrap(turned[rigid]))
    return _at_the_speed_of(
        path, ToolPath(path.positions + moved, path.yaws + turned, path.grippers, path.lead_m), parts
    )


def _parts(path: ToolPath, anchors: Sequence[Anchor], places: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """First and last row of the start and of what is tied to each anchor."""
    parts, begin = [(0, 0)], 1
    for anchor, place in zip(anchors, places, strict=True):
        near = np.linalg.norm(path.positions - place, axis=1) <= anchor.near_m
        rows = begin + np.flatnonzero(near[begin:])
        if not len(rows):
            raise RobotError(f"The tool never comes within {anchor.near_m} m of '{anchor.body}'.")
        parts.append((int(rows[0]), int(rows[-1])))
        begin = int(rows[0]) + 1
    # A part lasts until the tool is away for the last time before it comes to the next anchor; the last one, to the end.
    for number in range(1, len(anchors)):
        first, end = parts[number][0], parts[number + 1][0]
        near = np.linalg.norm(path.positions[first:end] - places[number - 1], axis=1) <= anchors[number - 1].near_m
        parts[number] = (first, first + int(np.flatnonzero(near)[-1]))
    parts[-1] = (parts[-1][0], len(path) - 1)
    return parts


def _at_the_speed_of(path: ToolPath, new: ToolPath, parts: list[tuple[int, int]]) -> ToolPath:
    """``new`` with the rows between two parts made more or fewer, in proportion to the length of the way."""
    before, after = _lengths(path.positions, path.yaws), _lengths(new.positions, new.yaws)
    rows = [np.zeros(1)]
    for (_, begin), (end, last) in pairwise(parts):
        was, becomes = before[end] - before[begin], after[end] - after[begin]
        count = max(1, round((end - begin) * becomes / was)) if was > 1e-6 else end - begin
        rows += [np.linspace(begin, end, count + 1)[1:], np.arange(end + 1, last + 1, dtype=float)]
    at = np.concatenate(rows)
    index = np.arange(len(new))
    positions = np.stack([np.interp(at, index, new.positions[:, axis]) for axis in range(3)], axis=1)
    # The gripper is opened and closed at once; in between would be a third command.
    return ToolPath(
        positions, np.interp(at, index, new.yaws), new.grippers[np.ceil(at - 1e-9).astype(int)], path.lead_m
    )


def _tool_poses(control: ToolControl, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (N, 3) [m] and yaws (N,) [rad] of the tool at joint positions (N, num_joints)."""
    poses = [control.tool_pose(row) for row in rows]
    return np.array([position for position, _ in poses]), np.array([yaw for _, yaw in poses])


def _lengths(positions: np.ndarray, yaws: np.ndarray) -> np.ndarray:
    """Length of the way from row 0 to each row, (T + 1,) [m], turns included."""
    steps = np.hypot(np.linalg.norm(np.diff(positions, axis=0), axis=1), TURN_M_RAD * np.diff(yaws))
    return np.concatenate([[0.0], np.cumsum(steps)])


def _distance_to_line(point: np.ndarray, rows: np.ndarray) -> float:
    """Distance of a point (3,) from the line through rows (N, 3) [m]."""
    if len(rows) == 1:
        return float(np.linalg.norm(point - rows[0]))
    begin, way = rows[:-1], np.diff(rows, axis=0)
    share = ((point - begin) * way).sum(axis=1) / np.maximum((way**2).sum(axis=1), 1e-12)
    nearest = begin + np.clip(share, 0.0, 1.0)[:, None] * way
    return float(np.linalg.norm(point - nearest, axis=1).min())


def _wrap(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi

"""The signals that measures are taken of: state, motion and action in units of their own spread, and true time.

Each component is centred and divided by its standard deviation over the dataset, so that no measure depends on units or
on where the origin is. Dividing what hardly moves would make signals of noise: components that move no more than rounding
are left out, and none is divided by less than a twentieth of what others of its feature and unit are. Orientations enter
as the first two columns of the rotation matrix (Zhou et al., CVPR 2019), which have no jumps and no two signs. What follows
a pose in a pose action, such as a gripper's joint, enters as it is.
"""

from collections.abc import Callable, Sequence

import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.datasets.measures.measured import Recorded

CHUNK_ROWS = 65_536
"""Rows that are converted at a time."""

ROUNDING = 1e-6
"""A spread below this part of the largest magnitude is rounding of float32."""

SEEN = ("image", "point_cloud")
"""Kinds of features whose components mean nothing one by one."""

LEAST_SPREAD = 0.05
"""Smallest divisor of a component, as a part of the largest among those of the same feature and unit."""

STAMP = "stamp_ns"

_QUATERNION = range(3, 7)
"""Components of a pose that are its quaternion."""

_ROTATION_COMPONENTS = 6

Rows = slice | np.ndarray
Reader = Callable[[Rows], np.ndarray]


class Signal:
    """(N, D) values in units of their spread, converted as they are read.

    Args:
        read: rows -> (n, components) in physical units.
        num_frames: N.
        groups: of each component; those of one group are of one unit. An empty name is a group of its own.

    Attributes:
        kept: which components vary.
        size: D, the number of those.
    """

    def __init__(self, read: Reader, num_frames: int, groups: Sequence[str]) -> None:
        self._read, self.num_frames = read, num_frames
        self._mean, self._std, largest = _spread(read, num_frames, len(groups))
        self.kept = self._std > ROUNDING * largest
        self.size = int(self.kept.sum())
        for group in set(groups) - {""}:
            members = np.array(groups) == group
            self._std[members] = np.maximum(self._std[members], LEAST_SPREAD * self._std[members].max())

    def __getitem__(self, rows: Rows) -> np.ndarray:
        """Rows (n, D) float64."""
        return ((self._read(rows) - self._mean) / np.where(self.kept, self._std, 1.0))[:, self.kept]


def state_signal(dataset: Recorded) -> Signal:
    """Everything a policy observes but pictures and point clouds, whose points have no order."""
    return _signal(dataset, [feature for feature in dataset.contract.observations if feature.kind not in SEEN])


def motion_signal(dataset: Recorded) -> Signal:
    """Where the robot is: its joint positions; without those ``observation.state``, without that the whole state."""
    return _signal(dataset, robot_features(dataset.contract))


def robot_features(contract: PolicyContract) -> list[Feature]:
    """The observations that say where the robot is."""
    observed = [feature for feature in contract.observations if feature.kind not in SEEN]
    joints = [feature for feature in observed if feature.kind == "joint_position"]
    return joints or [feature for feature in observed if feature.name == "observation.state"] or observed


def action_signal(dataset: Recorded, relative: bool = True) -> Signal:
    """What is commanded; where ``relative``, positions less the measured ones, so that it says where the action leads.

    Commanded positions differ wherever states do; what the operator wants shows in the difference.
    """
    feature = dataset.contract.action
    values = dataset.columns[feature.name]
    pairs = followed_components(dataset) if relative else []

    def read(rows: Rows) -> np.ndarray:
        found = _components(feature, values[rows])
        for component, observed, source in pairs:
            found[:, _place(feature, component)] -= _flat(dataset.columns[observed][rows])[:, source]
        return found

    return Signal(read, len(values), _groups(feature))


def followed_components(dataset: Recorded) -> list[tuple[int, str, int]]:
    """(action component, observed feature, its component) where the action commands the position of what is observed.

    Names and units must be the same, and the difference must vary less than the command does: displacements are named
    like positions in many a dataset. Of a pose action, positions of the tool are followed by those observed of the same tool;
    its quaternion by nothing, since the difference of two tells no distance.
    """
    action = dataset.contract.action
    followers = _followers(dataset.contract)
    rows = evenly(len(dataset.columns[action.name]), 10_000)
    commands = _flat(dataset.columns[action.name][rows])
    found = []
    for component, (name, unit) in enumerate(zip(action.names, action.units, strict=False)):
        if action.kind == "pose" and component in _QUATERNION:
            continue
        for feature in followers:
            if name not in feature.names or feature.units[feature.names.index(name)] != unit:
                continue
            source = feature.names.index(name)
            measured = _flat(dataset.columns[feature.name][rows])[:, source]
            if np.nanstd(commands[:, component] - measured) < np.nanstd(commands[:, component]):
                found.append((component, feature.name, source))
                break
    return found


def episode_times(dataset: Recorded, episode: int) -> np.ndarray:
    """(T,) seconds since the episode's first frame: the capture stamps where they are there and increase, else the period."""
    rows = dataset.episode_slice(episode)
    if STAMP in dataset.columns:
        stamps = dataset.columns[STAMP][rows].reshape(-1)
        if (np.diff(stamps) > 0).all():
            return (stamps - stamps[0]) / 1e9
    return np.arange(rows.stop - rows.start) * dataset.contract.chunk.control_period_s


def evenly(size: int, wanted: int) -> np.ndarray:
    """At most ``wanted`` of ``range(size)``, evenly spaced from 0."""
    return np.arange(0, size, max(1, -(-size // wanted)))


def _followers(contract: PolicyContract) -> list[Feature]:
    """The observations that may follow the action."""
    robot = robot_features(contract)
    if contract.action.kind != "pose":
        return robot
    tool = [each for each in contract.observations if each.kind == "pose" and each.source == contract.action.source]
    return [*tool, *(each for each in robot if each.kind != "pose")]


def _signal(dataset: Recorded, features: Sequence[Feature]) -> Signal:
    columns = {feature: dataset.columns[feature.name] for feature in features}
    groups = [group for feature in features for group in _groups(feature)]

    def read(rows: Rows) -> np.ndarray:
        return np.concatenate([_components(feature, column[rows]) for feature, column in columns.items()], axis=1)

    return Signal(read if features else lambda rows: np.zeros((0, 0)), int(np.sum(dataset.episode_lengths)), groups)


def _components(feature: Feature, values: np.ndarray) -> np.ndarray:
    """(n, components) float64, a copy; the quaternion (w, x, y, z) of a pose becomes two columns of its rotation."""
    flat = _flat(values)
    if feature.kind != "pose":
        return flat
    position, quaternion, carried = np.split(flat, [_QUATERNION.start, _QUATERNION.stop], axis=1)
    lengths = np.linalg.norm(quaternion, axis=1, keepdims=True)
    w, x, y, z = (quaternion / np.where(lengths > 0, lengths, 1.0)).T
    first = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
    second = [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
    return np.column_stack([position, *first, *second, carried])


def _place(feature: Feature, component: int) -> int:
    """Where among its ``_components`` a component of a feature is that is no part of a quaternion."""
    after = feature.kind == "pose" and component >= _QUATERNION.stop
    return component + _ROTATION_COMPONENTS - len(_QUATERNION) if after else component


def _groups(feature: Feature) -> list[str]:
    """Feature and unit of each of its ``_components``; empty where the unit is not known."""
    named = ["" if unit == "1" else f"{feature.name} {unit}" for unit in feature.units]
    if feature.kind != "pose":
        return named
    pose = [f"{feature.name} position"] * 3 + [f"{feature.name} rotation"] * _ROTATION_COMPONENTS
    return [*pose, *named[_QUATERNION.stop :]]


def _flat(values: np.ndarray) -> np.ndarray:
    """(n, components) float64, a copy."""
    return values.reshape(len(values), -1).astype(np.float64)


def _spread(read: Reader, num_frames: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and largest magnitude of each component over the frames that are finite."""
    chunks = [slice(start, start + CHUNK_ROWS) for start in range(0, num_frames, CHUNK_ROWS)]
    count, total, largest, squares = 0, np.zeros(width), np.zeros(width), np.zeros(width)
    for chunk in chunks:
        values = _finite(read(chunk))
        count += len(values)
        total += values.sum(axis=0)
        largest = np.maximum(largest, np.abs(values).max(axis=0, initial=0.0))
    mean = total / max(count, 1)
    for chunk in chunks:
        squares += ((_finite(read(chunk)) - mean) ** 2).sum(axis=0)
    return mean, np.sqrt(squares / max(count, 1)), largest


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values).all(axis=1)]

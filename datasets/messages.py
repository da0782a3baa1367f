"""ROS messages to arrays: which topic and message carry a feature, and pure functions that read it from plain fields.

The policy node and the reader of recordings share these functions, so a policy is trained on the arrays it will see,
to the bit. Nothing of ROS is imported: a message is anything with the fields of its definition. ROS writes quaternions
(x, y, z, w), we (w, x, y, z); the order changes here and, for sending, in ros_nodes/convert.py. A message that cannot be used
raises ``MessageError`` with the cause under which it is counted; nothing is ever filled in.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from praxon.contract import Feature
from praxon.errors import PraxonError

SECOND_NS = 1_000_000_000

JOINT_STATE, POSE, TRAJECTORY = (
    "sensor_msgs/msg/JointState",
    "geometry_msgs/msg/PoseStamped",
    "trajectory_msgs/msg/JointTrajectory",
)
IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


class MessageError(PraxonError):
    """A message that cannot be used.

    Args:
        cause: short name under which it is counted: 'missing_joint', 'nonfinite', 'frame' or 'malformed'.
        sentence: for the log.
    """

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause


def stamp_from_message(stamp: Any) -> int:
    """``builtin_interfaces/Time`` or ``Duration`` to nanoseconds."""
    return int(stamp.sec) * SECOND_NS + int(stamp.nanosec)


# -- what carries a feature -----------------------------------------------------------------------

TOPICS: dict[str, Callable[[Feature, str], str]] = {
    "joint_position": lambda feature, joint_states_topic: joint_states_topic,
    "pose": lambda feature, joint_states_topic: f"objects/{feature.source}/pose",
    "image": lambda feature, joint_states_topic: f"cameras/{feature.source}/image",
}
"""Kind of feature -> topic of an observation of that kind; kinds that are not here travel in no message."""


def observation_topic(feature: Feature, joint_states_topic: str = "joint_states") -> str:
    """Topic of an observation whose kind is in ``TOPICS``; that of a goal lies below ``goal/``."""
    topic = TOPICS[feature.kind](feature, joint_states_topic)
    return f"goal/{topic.removeprefix('/')}" if feature.is_goal else topic


# -- joints ---------------------------------------------------------------------------------------


def joints_from_message(message: Any, names: Sequence[str], dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Positions (len(names),) of the named joints [rad or m]; other joints in the message are ignored."""
    return _by_name(message.name, message.position, names, "A JointState", dtype)


def command_from_message(message: Any, names: Sequence[str]) -> np.ndarray:
    """Positions (len(names),) float32 that a JointTrajectory commands next [rad or m]: of its first point after its stamp.

    A point at the stamp itself says where the motion begins; it is the command only where nothing follows.
    """
    points = message.points
    if not len(points):
        raise MessageError("malformed", "A trajectory has no points.")
    ahead = (point for point in points if stamp_from_message(point.time_from_start) > 0)
    return _by_name(message.joint_names, next(ahead, points[-1]).positions, names, "A trajectory")


def _by_name(
    there: Sequence[str],
    values: Sequence[float],
    names: Sequence[str],
    what: str,
    dtype: type[np.floating] = np.float32,
) -> np.ndarray:
    if len(values) != len(there):
        raise MessageError("malformed", f"{what} has {len(there)} names and {len(values)} positions.")
    positions = dict(zip(there, values, strict=True))
    missing = [name for name in names if name not in positions]
    if missing:
        raise MessageError(
            "missing_joint", f"{what} lacks {', '.join(missing)}; it has {', '.join(there) or 'no joints'}."
        )
    return _finite([positions[name] for name in names], what, dtype)


# -- poses ----------------------------------------------------------------------------------------


def pose_from_message(message: Any, frame: str) -> np.ndarray:
    """PoseStamped to (x, y, z, qw, qx, qy, qz) float32 with qw >= 0; the message must be in ``frame``."""
    if message.header.frame_id != frame:
        raise MessageError("frame", f"A pose is in frame '{message.header.frame_id}'; '{frame}' is expected.")
    position, orientation = message.pose.position, message.pose.orientation
    values = (position.x, position.y, position.z, orientation.w, orientation.x, orientation.y, orientation.z)
    pose = _finite(values, "A pose")
    if abs(np.linalg.norm(pose[3:]) - 1) > 1e-3:
        raise MessageError("malformed", f"The quaternion of a pose has norm {np.linalg.norm(pose[3:]):.4f}, not 1.")
    if pose[3] < 0:
        pose[3:] = -pose[3:]
    return pose


# -- pictures -------------------------------------------------------------------------------------

CHANNEL_ORDER = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0)}
"""Which stored channel is red, green and blue."""
_CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG after which its height and width stand."""


def check_image(message: Any, shape: Sequence[int]) -> None:
    """Raise ``MessageError`` unless an Image holds a picture of ``shape`` (height, width, 3) in an encoding understood."""
    if message.encoding not in _CHANNELS:
        known = ", ".join(_CHANNELS)
        raise MessageError("malformed", f"A picture is encoded as '{message.encoding}'; understood are {known}.")
    height, width = message.height, message.width
    _require_size(height, width, shape)
    if message.step < _CHANNELS[message.encoding] * width or len(message.data) != height * message.step:
        raise MessageError(
            "malformed", f"A picture of {height} x {width} with step {message.step} has {len(message.data)} bytes."
        )


def image_from_message(message: Any, shape: Sequence[int]) -> np.ndarray:
    """Image to an RGB picture of ``shape`` (height, width, 3) uint8; another size or encoding is refused."""
    check_image(message, shape)
    rows = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.step)
    # Rows may be padded at their end.
    picture = rows[:, : _CHANNELS[message.encoding] * message.width].reshape(message.height, message.width, -1)
    grey = (0, 0, 0)
    return np.ascontiguousarray(picture[..., CHANNEL_ORDER.get(message.encoding, grey)])


def check_compressed(message: Any, shape: Sequence[int]) -> None:
    """Raise ``MessageError`` unless a CompressedImage says it is a JPEG or PNG of ``shape``; pixels are not decoded."""
    size = _coded_size(bytes(memoryview(message.data)))
    if size is None:
        raise MessageError("malformed", f"A picture compressed as '{message.format}' is no whole JPEG or PNG.")
    _require_size(*size, shape)


def compressed_from_message(message: Any, shape: Sequence[int]) -> np.ndarray:
    """CompressedImage, JPEG or PNG, to an RGB picture of ``shape`` (height, width, 3) uint8; another size is refused.

    The size is read before pixels are decoded, so that a file that claims to be huge costs nothing.
    """
    import cv2

    check_compressed(message, shape)
    coded = np.frombuffer(memoryview(message.data), dtype=np.uint8)
    try:
        # An orientation in the file's EXIF part must not turn what the camera saw.
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MessageError("malformed", f"A compressed picture cannot be decoded: {error.err}.") from error
    if picture is None:
        raise MessageError("malformed", "A compressed picture cannot be decoded.")
    _require_size(picture.shape[0], picture.shape[1], shape)
    return np.ascontiguousarray(picture[..., ::-1])


def _require_size(height: int, width: int, shape: Sequence[int]) -> None:
    if (height, width, 3) != tuple(shape):
        raise MessageError("malformed", f"A picture is {height} x {width}; {shape[0]} x {shape[1]} is expected.")


def _coded_size(coded: bytes) -> tuple[int, int] | None:
    """(height, width) as a PNG or JPEG says it; ``None`` where it is neither, or a PNG is not whole."""
    if coded.startswith(_PNG) and coded[12:16] == b"IHDR" and _png_fits(coded):
        return int.from_bytes(coded[20:24], "big"), int.from_bytes(coded[16:20], "big")
    if not coded.startswith(_JPEG):
        return None
    place = 2
    while place + 9 <= len(coded) and coded[place] == 0xFF:
        marker = coded[place + 1]
        if marker in _JPEG_FRAMES:
            return int.from_bytes(coded[place + 5 : place + 7], "big"), int.from_bytes(
                coded[place + 7 : place + 9], "big"
            )
        # 0xFF may be repeated before a marker.
        place += 1 if marker == 0xFF else 2 + int.from_bytes(coded[place + 2 : place + 4], "big")
    return None


def _png_fits(coded: bytes) -> bool:
    """Whether every part of a PNG is as long as it says: OpenCV takes the memory that a part claims before reading it."""
    place = len(_PNG)
    while place < len(coded):
        # Length, name, content, checksum.
        place += 12 + int.from_bytes(coded[place : place + 4], "big")
    return place == len(coded)


# -- numbers --------------------------------------------------------------------------------------


def _finite(values: Sequence[float], what: str, dtype: type[np.floating] = np.float32) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large for float32 is not finite either
        return require_finite(np.array(values, dtype=np.float64).astype(dtype), what)


def require_finite(values: np.ndarray, what: str) -> np.ndarray:
    """The same values; ``MessageError`` where one is not finite."""
    if not np.isfinite(values).all():
        raise MessageError("nonfinite", f"{what} holds a value that is not finite.")
    return values

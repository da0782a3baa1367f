"""One sentence for a machine without ROS 2; imported before anything of ROS, it raises where rclpy is missing."""

import importlib.util

from praxon.errors import ConfigError

MISSING = (
    "ROS 2 is not available to this Python: 'rclpy' cannot be imported; install it with pip install 'praxon[ros]', "
    "or source a ROS distribution's setup file first."
)


def require_ros() -> None:
    """Raise ``ConfigError`` unless rclpy can be imported; imports nothing itself."""
    if importlib.util.find_spec("rclpy") is None:
        raise ConfigError(MISSING)


require_ros()

"""Imported before anything of ROS: one sentence, instead of a missing module, on a machine without ROS 2."""

import importlib.util

from praxon.errors import ConfigError

if importlib.util.find_spec("rclpy") is None:
    raise ConfigError(
        "ROS 2 is not available to this Python: 'rclpy' cannot be imported; install it with pip install 'praxon[ros]', "
        "or source a ROS distribution's setup file first."
    )

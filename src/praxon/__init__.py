"""Praxon: policies trained in MuJoCo, judged in a digital twin, served as ROS 2 nodes."""

__version__ = "0.1.0"

"""Which LeRobot this is: versions, the format that it writes, the video backends that load."""

import importlib.metadata
import platform

import torchvision.io
from answer import answer
from lerobot.datasets import lerobot_dataset, video_utils

NAMES = ("lerobot", "torch", "torchvision", "torchcodec", "av", "datasets", "pyarrow", "numpy")


def backends() -> list[str]:
    """The preferred one first. Older versions use PyAV by way of a class that torchvision no longer has."""
    found = (
        ["pyav"] if hasattr(video_utils, "decode_video_frames_pyav") or hasattr(torchvision.io, "VideoReader") else []
    )
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        return found
    return ["torchcodec", *found]


if __name__ == "__main__":
    versions = {name: importlib.metadata.version(name) for name in NAMES}
    versions |= {"python": platform.python_version(), "format": lerobot_dataset.CODEBASE_VERSION}
    answer({**versions, "backends": backends()})

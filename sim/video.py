"""Videos of episodes: pictures from a camera of the scene into an MP4 that plays everywhere."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from praxon.robots.loop import Tick
from praxon.sim.world import World


class Video:
    """An MP4 (H.264, yuv420p) written frame by frame; ``close`` finishes it.

    Args:
        path: of the file.
        fps: pictures per second.
        height, width: of the pictures, even [pixels].
    """

    def __init__(self, path: Path, fps: int, height: int, width: int) -> None:
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libx264", rate=Fraction(fps))
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "26", "preset": "veryfast"}

    def add(self, picture: np.ndarray) -> None:
        """Append one picture (height, width, 3) uint8 RGB."""
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        """Write what is left and finish the file."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()


class FrameRecorder:
    """A subscriber of the control loop that keeps a picture of every tick.

    Args:
        world: what is filmed.
        height, width: of the pictures [pixels].
    """

    def __init__(self, world: World, height: int = 360, width: int = 480) -> None:
        self._view = world.view(height, width)
        self.pictures: list[np.ndarray] = []

    def __call__(self, tick: Tick) -> None:
        """Take the picture of this tick."""
        self.pictures.append(self._view.render().copy())

    def close(self) -> None:
        """Free what the pictures needed."""
        self._view.close()

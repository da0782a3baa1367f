"""Pictures of one episode and camera in an MP4 whose frame i is picture i, written and read frame-exactly."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from praxon.errors import DatasetError

# Every second frame is a key frame, so that any frame is found by decoding at most two.
KEY_FRAME_INTERVAL = 2
CODEC, PIXELS, OPTIONS = "libx264", "yuv420p", {"g": str(KEY_FRAME_INTERVAL), "crf": "18", "preset": "veryfast"}
NOWHERE = -KEY_FRAME_INTERVAL  # a position from which every picture needs a seek


def write_video(path: Path, pictures: np.ndarray, fps: int) -> None:
    """Write pictures (N, height, width, 3) uint8 RGB with time stamps 0, 1, 2, ... in units of 1/fps."""
    height, width = pictures.shape[1:3]
    if height % 2 or width % 2:
        raise DatasetError(
            f"Pictures of {height}x{width} cannot be stored as video; even numbers of pixels are needed."
        )
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart", "fflags": "+bitexact"}) as container:
        stream = container.add_stream(CODEC, rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = height, width, PIXELS
        stream.options = dict(OPTIONS)
        stream.codec_context.time_base = Fraction(1, fps)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


class VideoReader:
    """Random access to the pictures of one file; not for several threads at once.

    Args:
        path: the file.
        fps: pictures per second with which it was written.

    Raises:
        DatasetError: the file cannot be opened or holds no video.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self._path = path
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except (av.FFmpegError, OSError, IndexError) as error:
            raise DatasetError(f"The video '{path}' cannot be read: {error}.") from error
        # Decoder threads hold pictures back to fill themselves; one wanted picture would wait for many unwanted ones.
        self._stream.codec_context.thread_count = 1
        self._ticks = 1 / (fps * self._stream.time_base)
        self._decoder: Iterator[av.VideoFrame] = iter(())
        self._next = NOWHERE
        self.num_pictures: int = self._stream.frames

    def read(self, number: int) -> np.ndarray:
        """Picture ``number``, (height, width, 3) uint8 RGB; neighbours in rising order are decoded without a seek."""
        try:
            if not self._next <= number < self._next + KEY_FRAME_INTERVAL:
                self._container.seek(round(number * self._ticks), stream=self._stream)
                self._decoder = self._container.decode(self._stream)
            for frame in self._decoder:
                found = round(frame.pts / self._ticks)
                self._next = found + 1
                if found == number and not frame.is_corrupt:
                    return frame.to_ndarray(format="rgb24")
                if found >= number:
                    break
        except (av.FFmpegError, OSError) as error:
            self._next = NOWHERE
            raise DatasetError(f"Picture {number} of the video '{self._path}' cannot be read: {error}.") from error
        self._next = NOWHERE
        raise DatasetError(f"The video '{self._path}' holds no intact picture {number}.")

    def close(self) -> None:
        """Close the file."""
        self._container.close()

"""Pictures of one episode and camera in an MP4 whose frame i is picture i, written and read frame-exactly."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from praxon.errors import DatasetError

# Every second frame is a key frame, so that any frame is found by decoding at most two.
CODEC, PIXELS, OPTIONS = "libx264", "yuv420p", {"g": "2", "crf": "18", "preset": "veryfast"}


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


def read_video(path: Path) -> np.ndarray:
    """All pictures of a file in order, (N, height, width, 3) uint8 RGB."""
    try:
        with av.open(str(path)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DatasetError(f"The video '{path}' cannot be read: {error}.") from error
    if not pictures:
        raise DatasetError(f"The video '{path}' holds no picture.")
    return np.stack(pictures)

"""Writing pictures into an MP4 whose picture n is shown at n / fps: one at a time, in memory that does not grow."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol

import av
import numpy as np

from praxon.datasets.scheduling import scheduling_kept
from praxon.datasets.video_reader import StoredVideo
from praxon.errors import DatasetError

BLOCK_PICTURES = 32
"""Read at once from arrays on disk."""
CONTAINER = {"movflags": "faststart", "fflags": "+bitexact"}


@dataclass(frozen=True)
class Codec:
    """A way to write video.

    Args:
        encoder: the library's name for it.
        pixels: the format that is stored.
        options: of the encoder. Every second frame is a key frame, so that any is found by decoding at most two.
        any_size: odd numbers of pixels can be stored too.
        least_side: of the longer side [px]; below it the encoder breaks.
    """

    encoder: str
    pixels: str
    options: Mapping[str, str] = field(default_factory=dict)
    any_size: bool = False
    least_side: int = 1


CODECS = {
    # Without B-frames and look-ahead: they gain nothing over two frames, and x264 would read memory that nobody has written,
    # so that equal pictures gave different files once in a while.
    "h264": Codec("libx264", "yuv420p", {"g": "2", "crf": "18", "preset": "veryfast", "bf": "0", "rc-lookahead": "0"}),
    "hevc": Codec(
        "libx265",
        "yuv420p",
        {
            "g": "2",
            "crf": "18",
            "preset": "veryfast",
            "x265-params": "log-level=error:pools=none:frame-threads=1:info=0:open-gop=0:bframes=0",
        },
        least_side=64,
    ),
    "av1": Codec("libsvtav1", "yuv420p", {"g": "2", "crf": "30", "preset": "10", "svtav1-params": "lp=1"}),
    "h264_lossless": Codec(
        "libx264rgb",
        "rgb24",
        {"g": "2", "qp": "0", "preset": "veryfast", "bf": "0", "rc-lookahead": "0"},
        any_size=True,
    ),
}
"""By the name that is asked for; ``h264`` decodes everywhere, ``h264_lossless`` gives back every bit."""


class Pictures(Protocol):
    """(T, height, width, 3) uint8: an array, or something that is read as it is sliced (HDF5, zarr, video)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, key: slice) -> np.ndarray: ...


def available_codecs() -> list[str]:
    """Names of the codecs that this build of the library can write."""
    return [name for name, codec in CODECS.items() if _has_encoder(codec.encoder)]


def require_codec(codec: str, height: int, width: int) -> Codec:
    """The codec of that name; ``DatasetError`` where it is unknown, not in this build, or cannot store this size."""
    chosen = CODECS.get(codec)
    if chosen is None or not _has_encoder(chosen.encoder):
        raise DatasetError(f"Video cannot be written as '{codec}' here; available: {', '.join(available_codecs())}.")
    if not chosen.any_size and (height % 2 or width % 2):
        raise DatasetError(
            f"Pictures of {height}x{width} cannot be stored as video; even numbers of pixels are needed."
        )
    if max(height, width) < chosen.least_side:
        raise DatasetError(
            f"Pictures of {height}x{width} cannot be stored as '{codec}'; {chosen.least_side} pixels on one side are needed."
        )
    return chosen


class VideoWriter:
    """Writes one file; a context manager that deletes it when left by an exception.

    Args:
        path: the file; replaced where it exists.
        fps: pictures per second.
        height, width: of each picture [px].
        codec: a name in ``CODECS``.

    Raises:
        DatasetError: the codec is unknown or not in this build, cannot store this size, or the file cannot be written.

    Attributes:
        num_pictures: written so far.
    """

    def __init__(self, path: Path, fps: float, height: int, width: int, codec: str = "h264") -> None:
        chosen = require_codec(codec, height, width)
        self.path, self.num_pictures = Path(path), 0
        self._shape = (height, width, 3)
        self._time_base = 1 / frame_rate(fps)
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints a page of settings for every file otherwise
        self._container = create_container(self.path)
        try:
            self._stream = self._container.add_stream(
                chosen.encoder, rate=frame_rate(fps), options=dict(chosen.options)
            )
            self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, chosen.pixels
            context = self._stream.codec_context
            context.time_base = self._time_base
            context.thread_count = 1  # the number of threads changes what is written
            context.flags |= av.codec.context.Flags.bitexact
            with scheduling_kept():
                context.open()
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise DatasetError(
                f"Pictures of {height}x{width} cannot be stored as '{codec}': {_reason(error)}."
            ) from error

    def add(self, picture: np.ndarray) -> None:
        """Append one picture, (height, width, 3) uint8 RGB."""
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise DatasetError(
                f"Picture {self.num_pictures} of '{self.path}' is {picture.dtype}{picture.shape}; uint8{self._shape} is needed."
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self.num_pictures, self._time_base
        self._encode(frame)
        self.num_pictures += 1

    def close(self) -> None:
        """Finish the file. An empty one is an error and is deleted."""
        if self.num_pictures == 0:
            self.discard()
            raise DatasetError(f"The video '{self.path}' would hold no picture.")
        self._encode(None)
        try:
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def discard(self) -> None:
        """Close and delete the unfinished file."""
        discard_container(self._container, self.path)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> DatasetError:
        self.discard()
        return DatasetError(f"The video '{self.path}' could not be written: {_reason(error)}.")


def write_video(path: Path, pictures: Pictures, fps: float, codec: str = "h264") -> None:
    """Write pictures (T, height, width, 3) uint8 RGB; arrays on disk are read a few at a time."""
    if len(pictures.shape) != 4 or pictures.shape[3] != 3:
        raise DatasetError(
            f"Pictures for '{path}' have the shape {tuple(pictures.shape)}; (T, height, width, 3) is needed."
        )
    with VideoWriter(path, fps, *pictures.shape[1:3], codec=codec) as writer:
        for picture in one_by_one(pictures):
            writer.add(picture)


def one_by_one(pictures: Pictures) -> Iterator[np.ndarray]:
    """Each picture in turn; those of a stored video without beginning anew at a key frame for every block."""
    if isinstance(pictures, StoredVideo):
        yield from pictures
        return
    for start in range(0, pictures.shape[0], BLOCK_PICTURES):
        yield from np.asarray(pictures[start : start + BLOCK_PICTURES])


def frame_rate(fps: float) -> Fraction:
    """Exact rate, such as 30000/1001 for 29.97002997."""
    if not 0 < fps < 100_000:
        raise DatasetError(f"Video needs a positive number of pictures per second; got {fps}.")
    return Fraction(fps).limit_denominator(1001)


def create_container(path: Path) -> av.container.OutputContainer:
    """A new MP4 without time of writing or version, so that equal pictures give equal bytes."""
    try:
        return av.open(f"file:{path}", "w", format="mp4", options=dict(CONTAINER))
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"The video '{path}' could not be written: {_reason(error)}.") from error


def discard_container(container: av.container.OutputContainer, path: Path) -> None:
    """Close whatever state it is in, and delete the file."""
    with contextlib.suppress(av.FFmpegError, OSError, ValueError):  # the first error is the one to tell
        container.close()
    path.unlink(missing_ok=True)


def _has_encoder(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except (av.FFmpegError, ValueError):
        return False
    return True


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)

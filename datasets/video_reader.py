"""Reading one video file, whole or a stretch of it: frame-exact, any coding, any distance between key frames."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from praxon.datasets.video_decoder import VideoDecoder
from praxon.datasets.video_index import VideoBytes, VideoIndex, read_index
from praxon.errors import DatasetError

KEPT_INDEXES = 64


class VideoReader:
    """Random access to the pictures of one file; not for several threads at once.

    Args:
        path: an MP4 file.
        fps: of the grid on which pictures are numbered: number n is the picture shown at n / fps seconds.

    Raises:
        DatasetError: the file cannot be opened or holds not one whole picture.

    Attributes:
        index: where everything is.
        num_pictures: whole pictures in the file.
        num_listed: pictures that its table promises; more where the file is cut off.
        times_s: (num_pictures,) when each is shown [s].
        codec: ``h264``, ``hevc``, ``av1``, ...
        height, width: of each picture [px].
        rate: measured pictures per second; ``fps`` where there is only one.
        is_constant_rate: no time is farther than half a frame from the grid of ``rate``.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.index = index = stored_index(Path(path))
        self._fps = fps
        self.num_pictures, self.num_listed, self.times_s = index.num_pictures, index.num_listed, index.times_s
        self.codec, self.height, self.width = index.codec, index.height, index.width
        length_s = float(self.times_s[-1] - self.times_s[0])
        self.rate = (self.num_pictures - 1) / length_s if length_s > 0 else float(fps)
        even_s = self.times_s[0] + np.arange(self.num_pictures) / self.rate
        self.is_constant_rate = bool(np.all(np.abs(self.times_s - even_s) < 0.5 / self.rate))
        self._file: VideoBytes | None = VideoBytes(index.path)
        self._decoder: VideoDecoder | None = None
        self._following: Iterator[tuple[int, np.ndarray]] = iter(())
        self._next = -1

    def read(self, number: int) -> np.ndarray:
        """Picture ``number``, (height, width, 3) uint8 RGB; each next one in rising order costs one decoded picture."""
        place = int(self.index.locate(np.array([number]), self._fps)[0])
        if place != self._next:
            decoder = self._fresh()
            self._following = self._from(decoder, place)
        self._next = -1  # what fails is begun anew
        _, picture = next(self._following)
        self._next = place + 1
        return picture.copy()

    def read_range(self, start: int, stop: int) -> np.ndarray:
        """Pictures ``start`` to ``stop`` - 1, (stop - start, height, width, 3) uint8 RGB."""
        places = self.index.locate(np.arange(start, stop), self._fps)
        found = np.empty((len(places), self.height, self.width, 3), np.uint8)
        wanted, copies = np.unique(places, return_inverse=True)
        if len(wanted) == len(places):
            for place, picture in self._fresh().pictures(self.index, self._open(), wanted):
                found[place] = picture
            return found
        once = np.empty((len(wanted), self.height, self.width, 3), np.uint8)
        for place, picture in self._fresh().pictures(self.index, self._open(), wanted):
            once[place] = picture
        return once[copies]

    def close(self) -> None:
        """Close the file."""
        self._following, self._decoder, self._file = iter(()), None, None

    def _from(self, decoder: VideoDecoder, place: int) -> Iterator[tuple[int, np.ndarray]]:
        start, stop = int(self.index.start_of[place]), len(self.index.sizes)
        rest = range(place, self.num_pictures)
        expected = place
        for number, picture in decoder.stretch(self.index, self._open(), start, stop, rest):
            if number != expected:
                break
            expected += 1
            yield number, picture
        if expected < self.num_pictures:
            raise DatasetError(f"The video '{self.index.path}' holds no intact picture {expected}.")

    def _fresh(self) -> VideoDecoder:
        """The decoder, freed from what was being read."""
        self._following, self._next = iter(()), -1
        self._open()
        if self._decoder is None:
            self._decoder = VideoDecoder.of(self.index)
        return self._decoder

    def _open(self) -> VideoBytes:
        if self._file is None:
            raise DatasetError(f"The video '{self.index.path}' has been closed.")
        return self._file


@dataclass(frozen=True)
class StoredVideo:
    """Pictures ``first`` to ``first`` + ``num_pictures`` - 1 of a file that may hold several episodes; read when sliced.

    Args:
        path: an MP4 file.
        first: number of the first picture on the grid of ``fps``.
        num_pictures: how many.
        fps: pictures per second.
    """

    path: Path
    first: int
    num_pictures: int
    fps: float

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(num_pictures, height, width, 3)."""
        index = stored_index(Path(self.path))
        return self.num_pictures, index.height, index.width, 3

    @property
    def dtype(self) -> np.dtype:
        """Of a picture's values."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.num_pictures

    def __getitem__(self, key: slice) -> np.ndarray:
        start, stop, step = key.indices(self.num_pictures)
        if step != 1:
            raise DatasetError(f"Pictures of the video '{self.path}' are read in steps of 1; step {step} was asked.")
        return self.read(start, stop)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Every picture in turn, (height, width, 3) uint8, decoded once however far apart the key frames are."""
        reader = VideoReader(self.path, self.fps)
        for number in range(self.num_pictures):
            yield reader.read(self.first + number)

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Pictures ``start`` to ``stop`` - 1 counted from ``first``, (stop - start, height, width, 3) uint8."""
        stop = self.num_pictures if stop is None else stop
        if not 0 <= start <= self.num_pictures or stop > self.num_pictures:
            raise DatasetError(
                f"Pictures {start} to {stop - 1} were asked of a stretch of '{self.path}', which has 0 to {self.num_pictures - 1}."
            )
        return VideoReader(self.path, self.fps).read_range(self.first + start, self.first + max(start, stop))


def stored_index(path: Path) -> VideoIndex:
    """The file's index, read again only when the file has changed."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise DatasetError(f"The video '{path}' cannot be read: {error.strerror}.") from error
    return _index_of(path, state.st_ino, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=KEPT_INDEXES)
def _index_of(path: Path, inode: int, size: int, changed_ns: int) -> VideoIndex:
    return read_index(path)[0]

"""Pictures of many video files by file and number: recently used ones from memory, the others decoded one by one."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

from praxon.datasets.video_file import VideoReader

OPEN_FILES = 32

Key = TypeVar("Key", bound=Hashable)


class PictureCache(Generic[Key]):
    """Decoded pictures up to a number of bytes; the least recently used go first. Safe to share between threads.

    Args:
        open_video: opens the file of a key.
        max_bytes: of decoded pictures kept [bytes].

    Attributes:
        num_bytes: of pictures held now [bytes].
    """

    def __init__(self, open_video: Callable[[Key], VideoReader], max_bytes: int) -> None:
        self._open_video, self._max_bytes = open_video, max_bytes
        self.num_bytes = 0
        self._pictures: OrderedDict[tuple[Key, int], np.ndarray] = OrderedDict()
        self._readers: OrderedDict[Key, VideoReader] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, key: Key, numbers: Sequence[int]) -> list[np.ndarray]:
        """Pictures of one file, (height, width, 3) uint8 each; rising numbers are the fastest. Do not write into them."""
        with self._lock:
            return [self._picture(key, int(number)) for number in numbers]

    def _picture(self, key: Key, number: int) -> np.ndarray:
        picture = self._pictures.get((key, number))
        if picture is None:
            picture = self._reader(key).read(number)
            self._pictures[key, number] = picture
            self.num_bytes += picture.nbytes
            while self.num_bytes > self._max_bytes:
                self.num_bytes -= self._pictures.popitem(last=False)[1].nbytes
        else:
            self._pictures.move_to_end((key, number))
        return picture

    def _reader(self, key: Key) -> VideoReader:
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = self._open_video(key)
            if len(self._readers) > OPEN_FILES:
                self._readers.popitem(last=False)[1].close()
        else:
            self._readers.move_to_end(key)
        return reader

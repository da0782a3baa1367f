"""Pictures from packets: decoding begins at a key frame's packet, without a seek, and ends when the wanted picture is out."""

from collections.abc import Callable, Container, Iterator

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from praxon.datasets.video_index import UNREADABLE, VideoBytes, VideoIndex, open_container
from praxon.errors import DatasetError

# By default the conversion to RGB starts a thread per processor for every picture, which takes longer than the picture.
ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}

Passing = Callable[[int, np.ndarray], None]


class VideoDecoder:
    """Decodes files of equal ``VideoIndex.parameters`` by turns; for one thread at a time.

    Args:
        context: of a file with these parameters that nobody else decodes with.
    """

    def __init__(self, context: av.VideoCodecContext) -> None:
        if not context.is_open:
            # Threads inside hold pictures back to fill themselves; one wanted picture would wait for many unwanted ones.
            context.thread_count = 1
        self._context = context
        self._reformatter = VideoReformatter()

    @classmethod
    def of(cls, index: VideoIndex) -> "VideoDecoder":
        """A decoder for files like this one."""
        with open_container(index.path) as container:
            return cls(container.streams.video[0].codec_context)

    def pictures(
        self, index: VideoIndex, file: VideoBytes, pictures: np.ndarray, passing: Passing | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Decode rising pictures of one file.

        Args:
            index, file: the file.
            pictures: (N,) which, rising and different.
            passing: given (number, picture) of those that had to be decoded on the way.

        Yields:
            (place in ``pictures``, (height, width, 3) uint8 RGB), in any order; the memory is the decoder's, copy it.

        Raises:
            DatasetError: a picture is damaged or missing.
        """
        for part, start, stop in index.runs(pictures):
            wanted = dict(zip(pictures[part].tolist(), range(part.start, part.stop), strict=True))
            for number, picture in self.stretch(index, file, start, stop, wanted, passing):
                yield wanted.pop(number), picture
                if not wanted:
                    break  # what the decoder still holds back nobody waits for
            if wanted:
                raise _damaged(index, min(wanted))

    def stretch(
        self,
        index: VideoIndex,
        file: VideoBytes,
        start: int,
        stop: int,
        wanted: Container[int],
        passing: Passing | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Decode packets ``start`` to ``stop`` - 1; yields (number, RGB) of the wanted pictures in the order of showing."""
        try:
            for frame in self._frames(index, file, start, stop):
                if frame.pts in wanted:
                    if frame.is_corrupt:
                        raise _damaged(index, frame.pts)
                    yield frame.pts, self._rgb(index, frame)
                elif passing is not None and not frame.is_corrupt and index.is_complete(frame.pts, start):
                    passing(frame.pts, self._rgb(index, frame))
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or error
            raise DatasetError(f"The video '{index.path}' cannot be decoded: {reason}.") from error
        finally:
            if self._context.is_open:
                self._context.flush_buffers()

    def _frames(self, index: VideoIndex, file: VideoBytes, start: int, stop: int) -> Iterator[av.VideoFrame]:
        for packet in index.packets(file, start, stop):
            yield from self._context.decode(packet)
        yield from self._context.decode(None)  # what the decoder still held back for reordering

    def _rgb(self, index: VideoIndex, frame: av.VideoFrame) -> np.ndarray:
        """As ``frame.to_ndarray(format="rgb24")``, without its new conversion context per picture."""
        if (frame.height, frame.width) != (index.height, index.width):
            raise DatasetError(
                f"Picture {frame.pts} of the video '{index.path}' is {frame.height}x{frame.width}; "
                f"the file says {index.height}x{index.width}."
            )
        plane = self._reformatter.reformat(frame, format="rgb24", **ONE_THREAD).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return rows[: frame.height, : frame.width * 3].reshape(frame.height, frame.width, 3)


def _damaged(index: VideoIndex, picture: int) -> DatasetError:
    return DatasetError(f"The video '{index.path}' holds no intact picture {picture}.")

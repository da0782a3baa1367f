"""What an MP4 file holds: the time, place and nearest key frame of every picture, found once without decoding any."""

import itertools
import math
import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.packet import PacketSideData

from praxon.errors import DatasetError

UNREADABLE = (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError)
"""What the library raises for files that are not what they claim to be."""

NEW_EXTRADATA = 1
"""The library's number for this kind of side data (``AV_PKT_DATA_NEW_EXTRADATA``)."""

PACKET = np.dtype([("ticks", "i8"), ("offset", "i8"), ("size", "i8"), ("key", "?"), ("hidden", "?")])


class VideoBytes:
    """An open file that is closed when nobody uses it any more; several threads may read it at once."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DatasetError(f"The video '{path}' cannot be read: {error.strerror}.") from error

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """One file's pictures in the order in which they are shown, and its packets in the order in which they are decoded.

    Args:
        path: the file.
        codec: name of its coding, such as ``h264``, ``hevc``, ``av1``.
        height, width: of each picture [px].
        pixels: name of the pixel format.
        parameters: equal for files that one decoder can decode by turns.
        num_listed: pictures that the file's table promises; more than ``num_pictures`` where the file is cut off.
        times_s: (num_pictures,) float64 rising times of the pictures [s].
        packet_of: (num_pictures,) packet that holds the picture.
        start_of: (num_pictures,) packet from which decoding must begin to obtain the picture.
        offsets, sizes: (num_packets,) where each packet is in the file [bytes].
        picture_of: (num_packets,) the picture in it; negative where an edit list hides it.
        keys: (num_packets,) decoding can begin here.
        settings: the decoder's settings as (first packet for which they hold, side data), those of the file's head first.
    """

    path: Path
    codec: str
    height: int
    width: int
    pixels: str
    parameters: Hashable
    num_listed: int
    times_s: np.ndarray
    packet_of: np.ndarray
    start_of: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    picture_of: np.ndarray
    keys: np.ndarray
    settings: tuple[tuple[int, PacketSideData], ...]
    _grids: dict[float, bool] = field(default_factory=dict, repr=False)

    @property
    def coding(self) -> str:
        """The codec by the name under which it is asked of a writer: RGB is what is stored without loss."""
        return f"{self.codec}_lossless" if self.pixels == "gbrp" else self.codec

    @property
    def num_pictures(self) -> int:
        """Pictures whose bytes are there."""
        return len(self.times_s)

    def is_on_grid(self, fps: float) -> bool:
        """Picture n is shown less than half a frame from n / fps, for every n."""
        if fps not in self._grids:
            if not 0 < fps < math.inf:
                raise DatasetError(f"Pictures of '{self.path}' are numbered at a positive rate; got {fps} per second.")
            grid = np.arange(self.num_pictures) / fps
            self._grids[fps] = bool(np.all(np.abs(self.times_s - grid) < 0.5 / fps))
        return self._grids[fps]

    def locate(self, numbers: np.ndarray, fps: float) -> np.ndarray:
        """Which pictures are shown at ``numbers`` / ``fps`` seconds: the nearest, at most half a frame away."""
        numbers = np.asarray(numbers)
        if self.is_on_grid(fps):
            places, missing = numbers, (numbers < 0) | (numbers >= self.num_pictures)
        else:
            wanted_s = numbers / fps
            after = np.clip(np.searchsorted(self.times_s, wanted_s), 1, max(self.num_pictures - 1, 1))
            before = after - 1
            after = np.minimum(after, self.num_pictures - 1)
            nearer = np.abs(self.times_s[after] - wanted_s) < np.abs(self.times_s[before] - wanted_s)
            places = np.where(nearer, after, before)
            missing = ~(np.abs(self.times_s[places] - wanted_s) <= 0.5 / fps)
        if missing.any():
            number = int(numbers[missing][0])
            raise DatasetError(
                f"The video '{self.path}' holds no picture {number} of {fps:g} per second ({number / fps:.3f} s): it holds "
                f"{self.num_pictures} pictures from {self.times_s[0]:.3f} to {self.times_s[-1]:.3f} s."
            )
        return places

    def runs(self, pictures: np.ndarray) -> Iterator[tuple[slice, int, int]]:
        """Split rising pictures where decoding should begin anew; yields (part of ``pictures``, first packet, last + 1)."""
        if not len(pictures):
            return iter(())
        packets, starts = self.packet_of[pictures], self.start_of[pictures]
        firsts = np.concatenate([[0], np.flatnonzero(starts[1:] > np.maximum.accumulate(packets)[:-1] + 1) + 1])
        parts = itertools.starmap(slice, itertools.pairwise([*firsts.tolist(), len(pictures)]))
        return zip(parts, starts[firsts].tolist(), (np.maximum.reduceat(packets, firsts) + 1).tolist(), strict=True)

    def pieces(self, pictures: np.ndarray, longest: int) -> Iterator[slice]:
        """Split rising pictures at key frames into pieces that can be decoded side by side, none much over ``longest``."""
        first = 0
        starts = self.start_of[pictures]
        # A picture whose key frame is behind every picture before it shares no decoding with them.
        cuts = np.flatnonzero(starts[1:] > np.maximum.accumulate(self.packet_of[pictures])[:-1]) + 1
        for cut in [*cuts.tolist(), len(pictures)]:
            if cut - first >= longest or cut == len(pictures):
                yield slice(first, cut)
                first = cut

    def is_complete(self, picture: int, start: int) -> bool:
        """Nothing before packet ``start`` is needed for the picture; some shown before a key frame need what is stored before."""
        return 0 <= picture < self.num_pictures and bool(self.start_of[picture] >= start)

    def packets(self, file: VideoBytes, start: int, stop: int) -> Iterator[av.Packet]:
        """Packets ``start`` to ``stop`` - 1 as stored, their time stamp the number of the picture in it."""
        # Told anew at every beginning: the decoder may come from another place, or another file, with settings of its own.
        settings = dict(self.settings[1:]) if len(self.settings) > 1 else {}
        settings.update([(start, data) for first, data in self.settings if first <= start][-1:])
        span = slice(start, stop)
        rows = zip(self.sizes[span].tolist(), self.offsets[span].tolist(), self.picture_of[span].tolist(), strict=True)
        for number, (size, offset, picture) in enumerate(rows, start):
            packet = av.Packet(size)  # its memory is padded, as decoders need it; a slice of bytes would not be
            if os.preadv(file.descriptor, [packet], offset) != size:
                raise DatasetError(f"The video '{self.path}' has become shorter since it was opened.")
            packet.pts = picture
            if number in settings:
                settings[number].to_packet(packet)
            yield packet


def open_container(path: Path) -> av.container.InputContainer:
    """Open as MP4 and nothing else: a playlist or script under that name could name other files and hosts."""
    if not os.path.isfile(path):  # a pipe would be waited for
        raise DatasetError(f"The video '{path}' cannot be read: No such file.")
    try:
        container = av.open(f"file:{path}", format="mp4", metadata_errors="replace")
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    stream = next(iter(container.streams.video), None)
    if stream is None or stream.codec_context is None:
        container.close()
        raise DatasetError(f"The video '{path}' cannot be read: it holds no pictures in a known coding.")
    return container


def read_index(path: Path) -> tuple[VideoIndex, av.VideoCodecContext]:
    """Read the index of a file, and a context that can decode it.

    Raises:
        DatasetError: the file is missing, is no MP4, holds no video, or not one whole picture.
    """
    path = Path(path)
    with open_container(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        if stream.frames > path.stat().st_size:
            raise DatasetError(
                f"The video '{path}' cannot be read: it promises {stream.frames} pictures, more than its bytes."
            )
        settings: list[tuple[int, PacketSideData]] = []
        if context.extradata:
            head = PacketSideData(NEW_EXTRADATA, len(context.extradata))  # type: ignore[call-arg]  # missing in its stub
            head.update(context.extradata)
            settings.append((0, head))
        table = _packet_table(path, container, settings)
        if table["hidden"].all():
            raise DatasetError(f"The video '{path}' holds not one whole picture.")
        return _index(path, stream, table, tuple(settings)), context


def _packet_table(
    path: Path, container: av.container.InputContainer, settings: list[tuple[int, PacketSideData]]
) -> np.ndarray:
    """Every whole packet in the order of decoding, as ``PACKET``; adds changes of the decoder's settings to ``settings``."""
    file = VideoBytes(path)
    rows: list[tuple[int, int, int, bool, bool]] = []
    try:
        for packet in container.demux(container.streams.video[0]):
            if packet.pts is None or packet.pos is None or packet.is_corrupt or packet.size == 0:
                break  # the end, or where the file was cut off
            if not rows and os.pread(file.descriptor, packet.size, packet.pos) != bytes(packet):
                raise DatasetError(f"The video '{path}' cannot be read: its pictures are not stored as they are.")
            if packet.has_sidedata("new_extradata"):
                settings.append((len(rows), packet.get_sidedata("new_extradata")))
            rows.append((packet.pts, packet.pos, packet.size, packet.is_keyframe, packet.is_discard))
    except UNREADABLE as error:
        if not rows:
            raise _unreadable(path, error) from error
    return np.array(rows, PACKET)


def _index(
    path: Path, stream: av.VideoStream, table: np.ndarray, settings: tuple[tuple[int, PacketSideData], ...]
) -> VideoIndex:
    ticks = table["ticks"]
    shown = np.flatnonzero(~table["hidden"])
    packet_of = shown[np.argsort(ticks[shown], kind="stable")]
    picture_of = np.full(len(ticks), -1)
    picture_of[packet_of] = np.arange(len(packet_of))
    # Pictures shown before a key frame but stored after it need the pictures before it: they begin one key frame earlier.
    key_packets = np.flatnonzero(table["key"])
    key_ticks = np.maximum.accumulate(ticks[key_packets])
    stored = np.searchsorted(key_packets, packet_of, side="right") - 1
    in_time = np.searchsorted(key_ticks, ticks[packet_of], side="right") - 1
    nearest = np.minimum(stored, in_time)
    start_of = (
        np.where(nearest >= 0, key_packets[nearest], 0) if len(key_packets) else np.zeros(len(packet_of), np.int64)
    )
    context = stream.codec_context
    parameters = (
        context.name, context.extradata, context.width, context.height, context.pix_fmt, context.profile, context.has_b_frames,
        context.color_range, context.colorspace, context.color_primaries, context.color_trc,
    )  # fmt: skip
    return VideoIndex(
        path=path,
        codec=context.codec.canonical_name,
        height=context.height,
        width=context.width,
        pixels=str(context.pix_fmt),
        parameters=parameters,
        num_listed=max(stream.frames - int(table["hidden"].sum()), len(packet_of)),  # files in fragments promise none
        times_s=ticks[packet_of] * float(stream.time_base),
        packet_of=packet_of,
        start_of=start_of,
        offsets=table["offset"].copy(),
        sizes=table["size"].copy(),
        picture_of=picture_of,
        keys=table["key"].copy(),
        settings=settings,
    )


def _unreadable(path: Path, error: BaseException) -> DatasetError:
    return DatasetError(f"The video '{path}' cannot be read: {getattr(error, 'strerror', None) or error}.")

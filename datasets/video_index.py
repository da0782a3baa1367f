"""What an MP4 file holds: the time, place and nearest key frame of every picture, found once without decoding any."""

import itertools
import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

from praxon.errors import DatasetError

UNREADABLE = (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError)
"""What the library raises for files that are not what they claim to be."""


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
        settings: decoder settings that change in the middle of the file, as (first packet, side data).
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
    settings: tuple[tuple[int, Any], ...]
    _grids: dict[float, bool] = field(default_factory=dict, repr=False)

    @property
    def num_pictures(self) -> int:
        """Pictures whose bytes are there."""
        return len(self.times_s)

    def is_on_grid(self, fps: float) -> bool:
        """Picture n is shown less than half a frame from n / fps, for every n."""
        if fps not in self._grids:
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

    def runs(self, pictures: np.ndarray) -> Iterator[tuple[int, int]]:
        """Split rising pictures where decoding should begin anew; yields (first, last + 1) places in ``pictures``."""
        reach = np.maximum.accumulate(self.packet_of[pictures])
        cuts = np.flatnonzero(self.start_of[pictures[1:]] > reach[:-1] + 1) + 1
        edges = [0, *cuts.tolist(), len(pictures)]
        return itertools.pairwise(edges)

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

    def packets(self, file: VideoBytes, start: int, stop: int) -> Iterator[av.Packet]:
        """Packets ``start`` to ``stop`` - 1 as stored, their time stamp the number of the picture in it."""
        settings = [data for first, data in self.settings if first <= start][-1:]
        changes = dict(self.settings)
        for number in range(start, stop):
            size = int(self.sizes[number])
            packet = av.Packet(size)  # its memory is padded, as decoders need it; a slice of bytes would not be
            if os.preadv(file.descriptor, [packet], int(self.offsets[number])) != size:
                raise DatasetError(f"The video '{self.path}' has become shorter since it was opened.")
            packet.pts = int(self.picture_of[number])
            if number == start and settings:
                settings[0].to_packet(packet)
            elif number in changes:
                changes[number].to_packet(packet)
            yield packet


def open_container(path: Path) -> av.container.InputContainer:
    """Open as MP4 and nothing else: a playlist or script under that name could name other files and hosts."""
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
        context, listed = stream.codec_context, stream.frames
        if listed > path.stat().st_size:
            raise DatasetError(
                f"The video '{path}' cannot be read: it promises {listed} pictures, more than its bytes."
            )
        rows: list[tuple[int, int, int, bool, bool]] = []
        settings: list[tuple[int, Any]] = []
        first = last = None
        try:
            for packet in container.demux(stream):
                if packet.pts is None or packet.pos is None or packet.is_corrupt or packet.size == 0:
                    break  # the end, or where the file was cut off
                if packet.has_sidedata("new_extradata"):
                    settings.append((len(rows), packet.get_sidedata("new_extradata")))
                rows.append((packet.pts, packet.pos, packet.size, packet.is_keyframe, packet.is_discard))
                first, last = first or packet, packet
        except UNREADABLE as error:
            if not rows:
                raise _unreadable(path, error) from error
        ticks, offsets, sizes, keys, hidden = (
            (np.array(column) for column in zip(*rows, strict=True)) if rows else [()] * 5
        )
        if first is None or last is None or np.all(hidden):
            raise DatasetError(f"The video '{path}' holds not one whole picture.")
        file = VideoBytes(path)
        for packet in (first, last):
            if os.pread(file.descriptor, packet.size, packet.pos) != bytes(packet):
                raise DatasetError(f"The video '{path}' cannot be read: its pictures are not stored as they are.")
        return _index(path, stream, listed, ticks, offsets, sizes, keys, hidden, tuple(settings)), context


def _index(
    path: Path,
    stream: av.VideoStream,
    listed: int,
    ticks: np.ndarray,
    offsets: np.ndarray,
    sizes: np.ndarray,
    keys: np.ndarray,
    hidden: np.ndarray,
    settings: tuple[tuple[int, Any], ...],
) -> VideoIndex:
    shown = np.flatnonzero(~hidden)
    packet_of = shown[np.argsort(ticks[shown], kind="stable")]
    picture_of = np.full(len(ticks), -1)
    picture_of[packet_of] = np.arange(len(packet_of))
    # Pictures shown before a key frame but stored after it need the pictures before it: they begin one key frame earlier.
    key_packets = np.flatnonzero(keys)
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
        num_listed=listed,
        times_s=ticks[packet_of] * float(stream.time_base),
        packet_of=packet_of,
        start_of=start_of,
        offsets=offsets,
        sizes=sizes,
        picture_of=picture_of,
        keys=keys,
        settings=settings,
    )


def _unreadable(path: Path, error: BaseException) -> DatasetError:
    return DatasetError(f"The video '{path}' cannot be read: {getattr(error, 'strerror', None) or error}.")

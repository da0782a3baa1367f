"""Moving episodes between video files: packets are copied as they are where an episode stands on its own."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from praxon.datasets.video_index import VideoBytes, VideoIndex, open_container
from praxon.datasets.video_reader import StoredVideo, stored_index
from praxon.datasets.video_writer import (
    CODECS,
    VideoWriter,
    available_codecs,
    create_container,
    discard_container,
    frame_rate,
)
from praxon.errors import DatasetError

LENGTH_BYTES = 4
"""Before each NAL unit in an MP4; other lengths are allowed and not met."""


def copy_video(video: StoredVideo, path: Path, codec: str | None = None) -> bool:
    """Write one episode into a file of its own, as ``append_videos`` does with one."""
    return append_videos([video], path, codec)


def append_videos(videos: Sequence[StoredVideo], path: Path, codec: str | None = None) -> bool:
    """Write episodes one after the other into one file, picture n of it shown at n / fps.

    Packets are copied, and decode to exactly the same pictures, where every episode begins at a key frame, no packet
    of it depends on one outside, and all have the same coding. Otherwise all are decoded and encoded again.

    Args:
        videos: of the same size and rate.
        path: the file; must not be one of those read.
        codec: for encoding again; that of the first video, or ``h264`` where we cannot write it, where None.

    Returns:
        Whether packets were copied.
    """
    indexes = [stored_index(Path(video.path)) for video in videos]
    _require_alike(videos, indexes, Path(path))
    stretches = [_packets(index, video) for index, video in zip(indexes, videos, strict=True)]
    alone = [stretch for stretch in stretches if stretch is not None]
    alike = len({index.parameters for index in indexes}) == 1
    if alike and len(alone) == len(videos) and not _is_mixed(indexes, alone):
        _copy(indexes, alone, Path(path), videos[0].fps)
        return True
    _, height, width, _ = videos[0].shape
    codec = codec or (indexes[0].coding if indexes[0].coding in available_codecs() else next(iter(CODECS)))
    with VideoWriter(path, videos[0].fps, height, width, codec) as writer:
        for video in videos:
            for picture in video:
                writer.add(picture)
    return False


def _require_alike(videos: Sequence[StoredVideo], indexes: Sequence[VideoIndex], path: Path) -> None:
    if not videos or min(video.num_pictures for video in videos) < 1:
        raise DatasetError(f"The video '{path}' would hold an episode without pictures.")
    kinds = {f"{video.shape[1]}x{video.shape[2]} at {video.fps:g} per second" for video in videos}
    if len(kinds) > 1:
        raise DatasetError(
            f"The video '{path}' can hold pictures of one size and rate; got {', '.join(sorted(kinds))}."
        )
    if any(path.exists() and path.samefile(index.path) for index in indexes):
        raise DatasetError(f"The video '{path}' cannot be written while it is being read; another path is needed.")


def _packets(index: VideoIndex, video: StoredVideo) -> tuple[int, int] | None:
    """First packet and number of packets of an episode that stands on its own; None where it does not.

    It does where its first picture is a key frame and its pictures are one unbroken stretch of packets: what a packet
    depends on is stored before it and, behind a key frame, not before the key frame's picture. That the stretch is
    unbroken says that no picture shown later is stored, and may be needed, between the last ones.
    """
    pictures = index.locate(video.first + np.arange(video.num_pictures), video.fps)
    packets = index.packet_of[pictures]
    start, count = int(packets[0]), len(packets)
    unbroken = np.array_equal(np.sort(packets), np.arange(start, start + count))
    return (start, count) if unbroken and index.keys[start] and len(index.settings) <= 1 else None


def _is_mixed(indexes: Sequence[VideoIndex], stretches: Sequence[tuple[int, int]]) -> bool:
    """Some episodes bring parameter sets in their packets and others rely on those of the file's head.

    The former would replace the head's for the latter. Files concatenated by FFmpeg are of the first kind.
    """
    return len({_brings_sets(index, start) for index, (start, _) in zip(indexes, stretches, strict=True)}) > 1


def _brings_sets(index: VideoIndex, start: int) -> bool:
    """The packet holds sequence parameter sets: NAL units of type 7 (H.264, 7.4.1) or 33 (H.265, 7.4.2.2)."""
    if index.codec not in ("h264", "hevc"):
        return False
    data = bytes(next(index.packets(VideoBytes(index.path), start, start + 1)))
    place, kinds = 0, set()
    while place + LENGTH_BYTES < len(data):
        head = data[place + LENGTH_BYTES]
        kinds.add(head & 31 if index.codec == "h264" else head >> 1 & 63)
        place += LENGTH_BYTES + int.from_bytes(data[place : place + LENGTH_BYTES], "big")
    return (7 if index.codec == "h264" else 33) in kinds


def _copy(indexes: Sequence[VideoIndex], stretches: Sequence[tuple[int, int]], path: Path, fps: float) -> None:
    times = [_times(index, start, count) for index, (start, count) in zip(indexes, stretches, strict=True)]
    # No picture may be shown before it is decoded: with pictures out of order, decoding is told to begin so much earlier.
    delay = max(int(np.max(np.arange(len(shown)) - shown)) for shown in times)
    output = create_container(path)
    try:
        with open_container(indexes[0].path) as container:
            template = container.streams.video[0]
            stream = output.add_stream_from_template(template, opaque=True)  # without an encoder of it
            stream.time_base = tick = 1 / frame_rate(fps)  # the container chooses another with the first packet
            done = 0
            for index, (start, count), shown in zip(indexes, stretches, times, strict=True):
                for place, packet in enumerate(index.packets(VideoBytes(index.path), start, start + count)):
                    packet.stream, packet.time_base, packet.duration = stream, tick, 1
                    packet.pts, packet.dts = done + int(shown[place]), done + place - delay
                    packet.is_keyframe = bool(index.keys[start + place])
                    output.mux_one(packet)
                done += count
        output.close()
    except BaseException as error:
        discard_container(output, path)
        if isinstance(error, (av.FFmpegError, OSError)):
            raise DatasetError(f"The video '{path}' could not be written: {error}.") from error
        raise


def _times(index: VideoIndex, start: int, count: int) -> np.ndarray:
    """Number within the episode of the picture in each packet, in the order of decoding."""
    pictures = index.picture_of[start : start + count]
    return pictures - pictures.min()

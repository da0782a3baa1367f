"""Checks of videos: there, decodable to the last picture, as many pictures as frames, at the times that the episodes say."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from praxon.datasets.checks.finding import Finding, listed
from praxon.datasets.checks.folder import Folder, Track, is_file
from praxon.datasets.checks.pictures import CameraCheck, Stretch, cells
from praxon.datasets.lerobot_index import Entry
from praxon.datasets.video_index import open_container
from praxon.errors import DatasetError

TIME_TOLERANCE = 1.5e-4
"""Between a picture's time and that of its frame [s]; LeRobot refuses more than 1e-4, times are rounded to the file's ticks."""
FPS_TOLERANCE = 0.01
BRIGHTNESS_TOLERANCE = 0.08
"""Between stored and measured mean brightness of pictures, of 1; stored ones are of a sample."""
MORE = 1000
"""Surplus pictures that are decoded before a file is given up."""


@dataclass(frozen=True)
class VideoFacts:
    """What one file turned out to hold.

    Args:
        codec, pixels, height, width: of the stream.
        declared: pictures by the file's own table, 0 where it has none.
        times: (n,) of the pictures that could be decoded, in order [s].
        cells: (n, cells) mean brightness.
        darkest: brightness of black.
        fault: why not all could be decoded, or nothing.
    """

    codec: str
    pixels: str
    height: int
    width: int
    declared: int
    times: np.ndarray
    cells: np.ndarray
    darkest: float
    fault: str


def look_at(path: Path, height: int, width: int, most: int) -> VideoFacts:
    """Decode a whole file, at most ``most`` pictures; of another size than (``height``, ``width``) not even the first.

    Raises:
        DatasetError: it cannot be opened as a video.
    """
    with open_container(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        stream.thread_type = "AUTO"
        times: list[float] = []
        grids: list[np.ndarray] = []
        fault, darkest = "", 16.0
        here = context.height, context.width
        try:
            for frame in container.decode(stream) if here == (height, width) else ():
                if frame.is_corrupt or (frame.height, frame.width) != here or frame.pts is None:
                    fault = f"picture {len(times)} is damaged"
                    break
                if not times and (frame.color_range == 2 or str(context.pix_fmt).startswith("yuvj")):
                    darkest = 0.0
                times.append(float(frame.pts * frame.time_base))
                grids.append(cells(_brightness(frame)))
                if len(times) >= most:
                    break
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            fault = f"picture {len(times)} cannot be decoded ({' '.join(str(error).split())[:120]})"
        grid = np.stack(grids) if grids else np.zeros((0, 1), np.float16)
        codec = getattr(context.codec, "canonical_name", None) or context.name
        declared = int(stream.frames)
        return VideoFacts(codec, str(context.pix_fmt), *here, declared, np.array(times), grid, darkest, fault)


def check_camera(
    folder: Folder,
    camera: str,
    moves: Callable[[int, Stretch], bool],
    stored: Mapping[str, np.ndarray] | None,
    decode: bool,
    advance: Callable[[str], None],
) -> Iterator[Finding]:
    """All files of one camera.

    Args:
        moves: whether the robot moves in a stretch of an episode.
        stored: the camera's stored statistics.
        decode: look into the files; else only that they are there.
        advance: called with each file's name before it is decoded.
    """
    assert folder.episodes is not None
    entry, track = folder.features[camera], folder.episodes.videos[camera]
    yield from _label_faults(folder, entry)
    shown = CameraCheck(camera, folder.fps, moves)
    sums = np.zeros(2)
    whole = folder.whole
    for number, name in enumerate(track.files):
        if not is_file(folder.root / name):
            whole = False
            who = listed(folder.episodes.index[track.owners(number)])
            yield Finding("video_missing", name, f"The video '{name}' of {who} is missing.")
            continue
        if not decode:
            continue
        advance(name)
        rows = track.owners(number)
        rows = rows[np.argsort(track.from_s[rows], kind="stable")]
        wanted = sum(int(length) for length in folder.episodes.length[rows])
        try:
            facts = look_at(folder.root / name, entry.shape[0], entry.shape[1], max(wanted, 0) + MORE)
        except DatasetError as error:
            whole = False
            yield Finding("video_unreadable", name, str(error))
            continue
        faults = list(_file_faults(folder, entry, track, name, facts, rows, wanted))
        yield from faults
        if any(fault.severity == "error" for fault in faults):
            whole = False
            continue
        sums += facts.cells.astype(np.float64).mean(1).sum() - facts.darkest * len(facts.times), len(facts.times)
        for row in rows:
            start = int(np.argmin(np.abs(facts.times - track.from_s[row])))
            pictures = facts.cells[start : start + int(folder.episodes.length[row])]
            shown.add(int(row), int(folder.episodes.index[row]), pictures, facts.darkest)
    yield from shown.findings()
    if decode and whole and stored is not None and sums[1]:
        yield from brightness_fault(camera, stored, float(sums[0] / sums[1] / (255 if not _limited(entry) else 219)))


def brightness_fault(camera: str, stored: Mapping[str, np.ndarray], measured: float) -> Iterator[Finding]:
    """Stored mean colour against the measured mean brightness, of 1."""
    mean = stored.get("mean", np.zeros(0)).reshape(-1)
    if mean.size not in (1, 3):
        sentence = f"The stored mean of '{camera}' has {mean.size} channels; its pictures have 3."
        yield Finding("statistics", camera, sentence)
        return
    told = float(mean @ (0.299, 0.587, 0.114)) if mean.size == 3 else float(mean[0])
    if not abs(told - measured) <= BRIGHTNESS_TOLERANCE:
        sentence = f"The stored mean brightness of '{camera}' is {told:.3f}; that of its pictures is {measured:.3f}."
        yield Finding("statistics", camera, sentence)


def _label_faults(folder: Folder, entry: Entry) -> Iterator[Finding]:
    """What info.json says of a video against what it says of the dataset."""
    said = entry.info
    rate = said.get("video.fps")
    if isinstance(rate, (int, float)) and not abs(rate / folder.fps - 1) <= FPS_TOLERANCE:
        sentence = (
            f"info.json says that '{entry.name}' has {rate:g} pictures per second and the dataset {folder.fps:g}."
        )
        yield Finding("video_fps", entry.name, sentence)
    size: tuple[Any, Any] = said.get("video.height", entry.shape[0]), said.get("video.width", entry.shape[1])
    if size != entry.shape[:2]:
        sentence = (
            f"info.json says {size[0]}x{size[1]} of the video '{entry.name}' and {_size(entry.shape)} of the feature."
        )
        yield Finding("video_size", entry.name, sentence)


def _file_faults(
    folder: Folder, entry: Entry, track: Track, name: str, facts: VideoFacts, rows: np.ndarray, wanted: int
) -> Iterator[Finding]:
    said = entry.info
    if said.get("video.codec", facts.codec) != facts.codec:
        sentence = f"The video '{name}' is {facts.codec}; info.json says {str(said['video.codec'])[:40]}."
        yield Finding("video_codec", name, sentence)
    if said.get("video.pix_fmt", facts.pixels) != facts.pixels:
        sentence = (
            f"The video '{name}' has the pixels {facts.pixels}; info.json says {str(said['video.pix_fmt'])[:40]}."
        )
        yield Finding("video_pixels", name, sentence)
    if (facts.height, facts.width) != entry.shape[:2]:
        sentence = f"The pictures of '{name}' are {facts.height}x{facts.width}; info.json says {_size(entry.shape)}."
        yield Finding("video_size", name, sentence)
        return
    count = len(facts.times)
    if facts.fault or count < min(facts.declared, wanted + MORE):
        why = facts.fault or f"it declares {facts.declared}"
        sentence = f"Only {count} pictures of '{name}' can be decoded: {why}; {wanted} are needed."
        yield Finding("video_truncated", name, sentence)
        return
    if count != wanted:
        more = " or more" if count == wanted + MORE else ""
        sentence = f"The video '{name}' holds {count}{more} pictures; its episodes have {wanted} frames."
        yield Finding("video_frames", name, sentence)
        return
    steps = np.diff(facts.times)
    if len(steps) and not abs(np.median(steps) * folder.fps - 1) <= FPS_TOLERANCE:
        rate = 1 / max(float(np.median(steps)), 1e-9)
        sentence = f"The video '{name}' runs at {rate:.4g} pictures per second; fps says {folder.fps:g}."
        yield Finding("video_fps", name, sentence)
        return
    yield from _range_faults(folder, track, name, facts.times, rows)


def _range_faults(folder: Folder, track: Track, name: str, times: np.ndarray, rows: np.ndarray) -> Iterator[Finding]:
    """The episodes' from/to times against the pictures' own."""
    episodes = folder.episodes
    assert episodes is not None
    wrong: list[tuple[int, str]] = []
    for row in rows:
        length, start, stop = int(episodes.length[row]), float(track.from_s[row]), float(track.to_s[row])
        first = int(np.argmin(np.abs(times - start)))
        frames = times[first : first + length]
        if abs((stop - start) - length / folder.fps) > 0.5 / folder.fps:
            wrong.append(
                (row, f"lasts from {start:.6g} to {stop:.6g} s, {length} frames last {length / folder.fps:.6g} s")
            )
        elif len(frames) < length:
            end = times[-1] + 1 / folder.fps
            wrong.append((row, f"lasts from {start:.6g} to {stop:.6g} s, the file ends at {end:.6g} s"))
        else:
            off = np.abs(frames - start - np.arange(length) / folder.fps)
            if off.max() > TIME_TOLERANCE:
                k = int(np.argmax(off > TIME_TOLERANCE))
                wrong.append(
                    (row, f"has frame {k} at {start + k / folder.fps:.6g} s, the picture is at {frames[k]:.6g} s")
                )
    if wrong:
        row, sentence = wrong[0]
        who = listed(episodes.index[[each[0] for each in wrong]])
        yield Finding(
            "video_range", name, f"Episode {episodes.index[row]} in '{name}' {sentence}; this concerns {who}."
        )
    for before, after in itertools.pairwise(rows):
        if track.from_s[after] < track.to_s[before] - 0.5 / folder.fps:
            pair = listed(episodes.index[[before, after]])
            sentence = (
                f"In '{name}' episode {episodes.index[after]} begins at {track.from_s[after]:.6g} s, before episode "
                f"{episodes.index[before]} ends at {track.to_s[before]:.6g} s."
            )
            yield Finding("video_overlap", f"{name}: {pair}", sentence)
            return


def _brightness(frame: av.VideoFrame) -> np.ndarray:
    """(height, width) uint8: the luma plane where there is one of 8 bits."""
    name = frame.format.name
    if (
        name.startswith(("yuv4", "yuvj4", "gray", "nv12"))
        and frame.planes[0].line_size >= frame.width
        and "1" not in name[-5:]
    ):
        plane = frame.planes[0]
        return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    return frame.to_ndarray(format="gray")


def _limited(entry: Entry) -> bool:
    return not str(entry.info.get("video.pix_fmt", "yuv420p")).startswith(("yuvj", "gray", "rgb", "gbr"))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"

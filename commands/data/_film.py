"""An episode as an MP4: cameras side by side, below them curves in two columns with a cursor at the present time."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from praxon.commands.data._curves import COLOURS, Curves, grouped, thinned
from praxon.commands.data._recording import Recording
from praxon.contract import Feature
from praxon.errors import ConfigError
from praxon.sim.video import Video

FPS = 30
CAMERA_HEIGHT, PLOT_HEIGHT, WIDTH = 320, 130, 960
COLUMN = WIDTH // 2
MAX_PLOTS = 16
"""More would make pictures that some players refuse."""
MARGIN = 8
INK, GREY = (40, 40, 40), (225, 225, 225)


def film(path: Path, recording: Recording, features: Sequence[Feature]) -> tuple[float, int]:
    """Write an episode as fast as it was recorded.

    Args:
        path: of the MP4; its folder must be there.
        recording: the episode.
        features: whose curves are drawn, the first ``MAX_PLOTS`` plots of them.

    Returns:
        its length [s], and how many plots were left out.
    """
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"video is '{path}'; a name that ends in .mp4 is needed.")
    if not path.parent.is_dir():
        raise ConfigError(f"video is '{path}'; the folder '{path.parent}' does not exist.")
    curves = list(grouped(features))
    below = _plots(recording, curves[:MAX_PLOTS])
    seconds = float(recording.times_s[-1])
    top, shown = _cameras(recording, 0), 0
    video = Video(path, FPS, len(top) + len(below), WIDTH)
    try:
        for number in range(int(seconds * FPS) + 1):
            frame = recording.frame_at(number / FPS)
            if frame != shown:
                top, shown = _cameras(recording, frame), frame
            page = np.concatenate([top, below])
            across = round((COLUMN - 2 * MARGIN - 1) * number / FPS / seconds) if seconds > 0 else 0
            page[len(top) :, [MARGIN + across, COLUMN + MARGIN + across]] = INK
            video.add(page)
    finally:
        video.close()
    return seconds, max(len(curves) - MAX_PLOTS, 0)


def _plots(recording: Recording, curves: Sequence[Curves]) -> np.ndarray:
    """All plots in two columns, (height, WIDTH, 3)."""
    blank = np.full((PLOT_HEIGHT, COLUMN, 3), 255, np.uint8)
    plots = [_plot(group, recording) for group in curves] + [blank] * (len(curves) % 2)
    rows = [np.concatenate(plots[first : first + 2], axis=1) for first in range(0, len(plots), 2)]
    return np.concatenate(rows) if rows else np.empty((0, WIDTH, 3), np.uint8)


def _cameras(recording: Recording, frame: int) -> np.ndarray:
    """All cameras at one height in a row, (height, WIDTH, 3); no rows where there is no camera."""
    pictures = [picture(frame) for picture in recording.pictures.values()]
    if not pictures:
        return np.empty((0, WIDTH, 3), np.uint8)
    widths = [picture.shape[1] / picture.shape[0] for picture in pictures]
    height = int(min(CAMERA_HEIGHT, WIDTH / sum(widths))) // 2 * 2
    row = np.full((height, WIDTH, 3), 255, np.uint8)
    left = (WIDTH - sum(int(height * width) for width in widths)) // 2
    for picture, width in zip(pictures, widths, strict=True):
        right = left + int(height * width)
        row[:, left:right] = cv2.resize(picture, (right - left, height), interpolation=cv2.INTER_AREA)
        left = right
    return row


def _plot(curves: Curves, recording: Recording) -> np.ndarray:
    """The curves of one group over one column, (PLOT_HEIGHT, COLUMN, 3)."""
    page = np.full((PLOT_HEIGHT, COLUMN, 3), 255, np.uint8)
    times, values = thinned(recording.times_s, curves.values(recording), COLUMN)
    finite = values[np.isfinite(values)]
    lowest, highest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    middle, half = (lowest + highest) / 2, max((highest - lowest) / 2, 1e-6)
    top, bottom = 36, PLOT_HEIGHT - MARGIN
    across = MARGIN + (COLUMN - 2 * MARGIN - 1) * times / max(float(times[-1]), 1e-9)
    down = (top + bottom) / 2 - (bottom - top) / 2 * (values - middle) / half
    cv2.rectangle(page, (MARGIN, top), (COLUMN - MARGIN, bottom), GREY)
    for line, colour in zip(down.T, COLOURS, strict=False):
        for part in np.split(np.arange(len(line)), np.flatnonzero(~np.isfinite(line))):
            kept = part[np.isfinite(line[part])]
            points = np.stack([across[kept], line[kept]], axis=1).round().astype(np.int32)
            cv2.polylines(page, [points.reshape(-1, 1, 2)], False, _rgb(colour), 1, cv2.LINE_AA)
    _text(page, f"{curves.feature} [{curves.unit}]  {lowest:.3g} to {highest:.3g}", MARGIN, 14, INK)
    left = MARGIN
    for name, colour in zip(curves.names, COLOURS, strict=False):
        _text(page, name, left, 30, _rgb(colour))
        left += cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] + 2 * MARGIN
    return page


def _text(page: np.ndarray, text: str, left: int, base: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(page, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue

"""Checks of what a camera shows: black, or frozen while the robot moves."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from praxon.datasets.checks.finding import Finding, listed

CELLS = 16
"""Pictures are compared by the mean brightness of CELLS x CELLS cells, which compression hardly changes."""
SAME = 3.0
"""Largest difference of a cell's mean brightness that compression makes between two pictures of the same scene [of 255]."""
BLACK = 8.0
"""Largest brightness of a cell in a black picture, above the darkest that the format has [of 255]."""
FROZEN_S, BLACK_S = 2.0, 1.0


@dataclass(frozen=True)
class Stretch:
    """Frames ``start`` to ``stop`` (exclusive) of one episode, counted within it."""

    start: int
    stop: int

    @property
    def frames(self) -> int:
        """How many."""
        return self.stop - self.start


def cells(brightness: np.ndarray) -> np.ndarray:
    """Mean brightness in a grid of at most ``CELLS`` x ``CELLS`` cells, flat float16.

    Args:
        brightness: (height, width) uint8.
    """
    height, width = brightness.shape
    rows = np.linspace(0, height, min(CELLS, height), endpoint=False).astype(int)
    columns = np.linspace(0, width, min(CELLS, width), endpoint=False).astype(int)
    sums = np.add.reduceat(np.add.reduceat(brightness, rows, axis=0, dtype=np.uint32), columns, axis=1)
    sizes = np.diff([*rows, height])[:, None] * np.diff([*columns, width])[None, :]
    return (sums / sizes).astype(np.float16).reshape(-1)


def black_stretches(pictures: np.ndarray, fps: float, darkest: float) -> list[Stretch]:
    """Stretches of at least ``BLACK_S`` in which every cell of every picture (T, cells) is black."""
    black = (pictures <= darkest + BLACK).all(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], black, [False]])))
    runs = [Stretch(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    return [run for run in runs if run.frames >= BLACK_S * fps]


def frozen_stretches(pictures: np.ndarray, fps: float) -> list[Stretch]:
    """Stretches of at least ``FROZEN_S`` in which every picture (T, cells) is like the stretch's first."""
    found, start = [], 0
    wide = pictures.astype(np.float32)
    for i in range(1, len(wide) + 1):
        if i == len(wide) or np.abs(wide[i] - wide[start]).max() > SAME:
            if i - start >= FROZEN_S * fps:
                found.append(Stretch(start, i))
            start = i
    return found


class CameraCheck:
    """Gathers what one camera shows over all episodes.

    Args:
        camera: the feature.
        fps: pictures per second.
        moves: whether the robot moves in a stretch of an episode (row of the table).
    """

    def __init__(self, camera: str, fps: float, moves: Callable[[int, Stretch], bool]) -> None:
        self._camera, self._fps, self._moves = camera, fps, moves
        self._black: list[tuple[int, Stretch]] = []
        self._frozen: list[tuple[int, Stretch]] = []

    def add(self, row: int, episode: int, pictures: np.ndarray, darkest: float) -> None:
        """One episode's pictures as (T, cells); ``darkest`` is the brightness of black."""
        black = black_stretches(pictures, self._fps, darkest)
        self._black += [(episode, stretch) for stretch in black]
        dark = np.zeros(len(pictures), bool)
        for stretch in black:
            dark[stretch.start : stretch.stop] = True
        for stretch in frozen_stretches(pictures, self._fps):
            if not dark[stretch.start : stretch.stop].all() and self._moves(row, stretch):
                self._frozen.append((episode, stretch))

    def findings(self) -> Iterator[Finding]:
        """At most one of each kind."""
        kinds = (("camera_black", self._black, "is black"), ("camera_frozen", self._frozen, "shows the same picture"))
        for name, found, what in kinds:
            if found:
                episode, longest = max(found, key=lambda each: each[1].frames)
                who = listed(sorted({each[0] for each in found}))
                sentence = (
                    f"'{self._camera}' {what} for {longest.frames / self._fps:.3g} s (frames {longest.start} to "
                    f"{longest.stop - 1} of episode {episode})"
                )
                yield Finding(name, self._camera, f"{sentence}; this concerns {who}.")


def picture_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) that a PNG or JPEG file declares, or ``None``; nothing is unpacked, so nothing can be a bomb."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return height, width
    position = 2
    if data[:2] != b"\xff\xd8":
        return None
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return height, width
        if marker == 0xFF:
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None

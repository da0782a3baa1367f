"""Checks of time: the timestamp column against the frame index, true capture stamps against the label."""

from collections.abc import Iterator

import numpy as np

from praxon.datasets.checks.finding import Finding, listed
from praxon.datasets.checks.rows import TIMESTAMP_TOLERANCE

GAP_PERIODS = 1.5
RATE_TOLERANCE = 0.02
LEAST_FRAMES = 4


class StampCheck:
    """Gathers what is wrong with the times of episodes, one episode after another.

    Args:
        fps: the label.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._rates: list[tuple[int, float]] = []
        self._gaps: list[tuple[int, int, float]] = []
        self._num_gaps = 0
        self._repeats: list[tuple[int, int]] = []
        self._backwards: list[tuple[int, int]] = []
        self._shifted: list[tuple[int, int, float, float]] = []

    def add(self, episode: int, timestamp: np.ndarray, stamps_ns: np.ndarray | None) -> None:
        """One episode: ``timestamp`` (T,) [s], ``stamps_ns`` (T,) int64 [ns] where the dataset has a column of them.

        A timestamp that is not frame_index / fps is taken for a capture time. Where those run at another rate, that is the
        fault to name; all else follows from it.
        """
        if not np.isfinite(timestamp).all():
            return
        timestamp = timestamp.astype(np.float64)
        wanted = np.arange(len(timestamp)) / self._fps
        off = np.abs(timestamp - wanted) > TIMESTAMP_TOLERANCE + 1e-6 * np.abs(wanted)
        if stamps_ns is not None:
            self._captured(episode, stamps_ns / 1e9 if stamps_ns.dtype.kind == "f" else _seconds(stamps_ns))
        elif off.any() and not self._captured(episode, timestamp - timestamp[0]):
            off &= bool(abs(timestamp[0]) > 1 / self._fps)
        if off.any():
            frame = int(np.flatnonzero(off)[0])
            self._shifted.append((episode, frame, float(timestamp[frame]), float(wanted[frame])))

    def findings(self) -> Iterator[Finding]:
        """Everything found, one finding for each kind."""
        if self._rates:
            episodes = [episode for episode, _ in self._rates]
            rate = float(np.median([rate for _, rate in self._rates]))
            sentence = (
                f"The recording runs at {rate:.4g} frames per second in {listed(episodes)}; fps says {self._fps:g}."
            )
            yield Finding("rate", listed(episodes), sentence)
        if self._shifted:
            episode, frame, there, wanted = self._shifted[0]
            sentence = (
                f"timestamp is {there:.6g} s in frame {frame} of episode {episode}, {wanted:.6g} s is expected "
                "(frame_index / fps)."
            )
            yield Finding("timestamp", listed([each[0] for each in self._shifted]), sentence)
        if self._backwards:
            episode, frame = self._backwards[0]
            sentence = f"The capture time of frame {frame} of episode {episode} is before that of the frame before it."
            yield Finding("stamps_backwards", listed(_episodes(self._backwards)), sentence)
        if self._repeats:
            episode, frame = self._repeats[0]
            sentence = f"Frame {frame} of episode {episode} has the capture time of the frame before it."
            yield Finding("stamps_duplicate", listed(_episodes(self._repeats)), sentence)
        if self._gaps:
            episode, frame, gap = max(self._gaps, key=lambda each: each[2])
            sentence = (
                f"The longest of {self._num_gaps} gaps is {gap:.4g} s, before frame {frame} of episode {episode}."
            )
            yield Finding("stamps_gap", listed(_episodes(self._gaps)), sentence)

    def _captured(self, episode: int, seconds: np.ndarray) -> bool:
        """Check capture times [s]; whether they run at the labelled rate."""
        steps = np.diff(seconds)
        rising = steps[steps > 0]
        period = 1 / self._fps
        good = True
        if len(rising) >= LEAST_FRAMES:
            median = float(np.median(rising))
            measured = 1 / float(rising[rising <= GAP_PERIODS * median].mean())
            # Stamps that jitter by a fifth of a period at both ends shift the rate of a short episode.
            if abs(measured / self._fps - 1) > RATE_TOLERANCE + 0.4 / len(rising):
                self._rates.append((episode, measured))
                period, good = median, False
        self._backwards += [(episode, int(i) + 1) for i in np.flatnonzero(steps < 0)[:1]]
        self._repeats += [(episode, int(i) + 1) for i in np.flatnonzero(steps == 0)[:1]]
        # A stamp that repeats or goes back takes the place of its own; the time around it is no gap.
        later = np.flatnonzero(np.concatenate([[True], seconds[1:] > np.maximum.accumulate(seconds)[:-1]]))
        passed, frames = np.diff(seconds[later]), np.diff(later)
        wide = np.flatnonzero(passed > (frames - 1 + GAP_PERIODS) * period)
        if len(wide):
            widest = int(wide[np.argmax(passed[wide])])
            self._gaps.append((episode, int(later[widest + 1]), float(passed[widest])))
            self._num_gaps += len(wide)
        return good


def _seconds(stamps_ns: np.ndarray) -> np.ndarray:
    """Seconds since the first stamp; differences of nanoseconds since 1970 are exact only as integers."""
    with np.errstate(over="ignore"):
        return (stamps_ns - stamps_ns[0]).astype(np.float64) / 1e9


def _episodes(found: list[tuple[int, int]] | list[tuple[int, int, float]]) -> list[int]:
    return sorted({each[0] for each in found})

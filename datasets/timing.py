"""What true capture stamps say of a recording: its rate, gaps and duplicates. The index time of the format hides all three."""

from dataclasses import dataclass

import numpy as np

GAP_PERIODS = 1.5
"""An interval longer than this many nominal periods is a gap."""


@dataclass(frozen=True)
class Timing:
    """Of one episode.

    Args:
        rate_hz: one over the median interval between different stamps [Hz]; the nominal rate for a single frame.
        gaps: intervals longer than ``GAP_PERIODS`` nominal periods.
        duplicates: frames with the stamp of the one before.
        longest_s: the longest interval [s].
    """

    rate_hz: float
    gaps: int
    duplicates: int
    longest_s: float


def measure_timing(stamps_ns: np.ndarray, fps: float) -> Timing:
    """Timing of one episode's stamps (T,) [ns], which never decrease, under the nominal rate ``fps`` [Hz]."""
    intervals = np.diff(stamps_ns) * 1e-9
    moved = intervals[intervals > 0]
    if not len(moved):
        return Timing(fps, 0, len(intervals), 0.0)
    return Timing(
        rate_hz=float(1 / np.median(moved)),
        gaps=int((intervals > GAP_PERIODS / fps).sum()),
        duplicates=int((intervals == 0).sum()),
        longest_s=float(intervals.max()),
    )

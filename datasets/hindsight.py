"""Hindsight: which later frame of an episode was, as it turned out, the goal of a frame.

Relabelling with what was reached: Andrychowicz et al., arXiv 1707.01495; for imitation, Lynch et al., arXiv 1903.01973.
"""

import numpy as np

from praxon.errors import DatasetError, nearest

HINDSIGHTS = ("final", "future")


def require_hindsight(how: str) -> None:
    """``DatasetError`` listing the ways there are, unless ``how`` is one."""
    if how not in HINDSIGHTS:
        raise DatasetError(
            f"Goals cannot be taken from '{how}'. Ways: {', '.join(HINDSIGHTS)}.{nearest(how, HINDSIGHTS)}"
        )


def goal_frames(frames: np.ndarray, last: np.ndarray, how: str, seed: int, draw: int) -> np.ndarray:
    """The frame (B,) whose observations are the goal of each of ``frames`` (B,).

    Args:
        last: (B,) last frame of each one's episode.
        how: ``final`` takes that one; ``future`` any later one with equal probability.
        seed, draw: the same two give the same goal to a frame, whatever else is in the batch; ``draw`` counts batches.
    """
    if how == "final":
        return last
    later = last - frames
    return frames + np.minimum(1 + (uniform(frames, seed, draw) * later).astype(np.int64), later)


def uniform(frames: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """A number in [0, 1) for each frame: a hash of frame, seed and draw (SplitMix64, Steele et al., OOPSLA 2014)."""
    mixed = frames.astype(np.uint64)
    for value in (seed, draw):
        mixed = _mix(mixed + np.uint64((0x9E3779B97F4A7C15 * (value + 1)) % 2**64))
    return (mixed >> np.uint64(11)) * 2.0**-53


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))

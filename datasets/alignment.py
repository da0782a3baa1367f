"""Messages onto the ticks of an episode: which value of each stream belongs to which tick, by stamp.

A stream is first put in order by ``make_track``, by the rules of the policy node and of a robot that may be restarted:

- a stamp at or before the last one is not used;
- a stamp more than ``CLOCK_LIMIT_NS`` before the last one is a clock that was reset: what came before is forgotten;
- a stamp more than ``CLOCK_LIMIT_NS`` after the time of receipt is not of this clock: the message is not used, and what
  came before it is no longer served until the next message. Less than that is clock skew, and served.

Then one of these finds the value for every tick t, from values stamped at or before t only:

- hold: the last value;
- asof: the last value, if its age is at most a tolerance;
- drop: the last value, if it is younger than one period;
- live: what the policy node does (ros_nodes/ros_robot.py). The newest value of a reference stream, and of every other
  the one nearest to it in time, where nearer than a tolerance.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

CLOCK_LIMIT_NS = 1_000_000_000
POLICIES = ("hold", "asof", "drop", "live")
NONE = -1
"""The row of a tick that has no value."""


@dataclass(frozen=True)
class Track:
    """The usable values of one stream.

    Args:
        stamps_ns: (N,) int64, increasing [ns].
        rows: (N,) int64, which message each is; ``NONE`` where nothing is served from this stamp on.
        dropped: messages that are not used, by cause: 'duplicate', 'out_of_order', 'before_reset' or 'future'.
    """

    stamps_ns: np.ndarray
    rows: np.ndarray
    dropped: Counter[str]


def make_track(stamps_ns: np.ndarray, received_ns: np.ndarray) -> Track:
    """The track of messages stamped ``stamps_ns`` (N,) that were received at ``received_ns`` (N,), in that order [ns]."""
    kept: list[tuple[int, int]] = []
    dropped: Counter[str] = Counter()
    for row, (stamp, received) in enumerate(zip(stamps_ns.tolist(), received_ns.tolist(), strict=True)):
        last = kept[-1][0] if kept else None
        if stamp > received + CLOCK_LIMIT_NS:
            dropped["future"] += 1
            if last is not None and kept[-1][1] != NONE:
                kept.append((last + 1, NONE))
        elif last is None or stamp > last:
            kept.append((stamp, row))
        elif stamp < last - CLOCK_LIMIT_NS:
            dropped["before_reset"] += sum(each != NONE for _, each in kept)
            kept = [(stamp, row)]
        else:
            dropped["duplicate" if stamp == last else "out_of_order"] += 1
    stamps, rows = np.array(kept, np.int64).reshape(-1, 2).T
    return Track(stamps, rows, dropped)


def ticks_between(start_ns: int, first_ns: int, last_ns: int, period_s: float) -> np.ndarray:
    """Those of the ticks ``start_ns + n * period_s`` that lie in [first_ns, last_ns], as (M,) int64 [ns]."""
    period_ns = period_s * 1e9
    # One more on each side, then the exact comparison: rounding must not lose a tick that falls on an end.
    first, last = (int((end - start_ns) / period_ns) for end in (first_ns, last_ns))
    ticks = start_ns + np.rint(np.arange(first - 1, last + 2) * period_ns).astype(np.int64)
    return ticks[(ticks >= first_ns) & (ticks <= last_ns)]


def pick(track: Track, ticks_ns: np.ndarray, policy: str, period_ns: float, tolerance_ns: float) -> np.ndarray:
    """Places in ``track`` (M,) of the values for the ticks (M,) under 'hold', 'asof' or 'drop'; ``NONE`` for no value."""
    places = np.searchsorted(track.stamps_ns, ticks_ns, side="right") - 1
    ages_ns = ticks_ns - track.stamps_ns[places]
    served = (places >= 0) & (track.rows[places] != NONE)
    if policy == "asof":
        served &= ages_ns <= tolerance_ns
    elif policy == "drop":
        served &= ages_ns < period_ns
    return np.where(served, places, NONE)


def pick_nearest(track: Track, reference: Track, ticks_ns: np.ndarray, tolerance_ns: float) -> np.ndarray:
    """The same under 'live': places in ``track`` of the values nearest to the newest of ``reference`` at each tick."""
    newest = np.searchsorted(reference.stamps_ns, ticks_ns, side="right") - 1
    around_ns = reference.stamps_ns[newest]
    arrived = np.searchsorted(track.stamps_ns, ticks_ns, side="right") - 1
    before = np.searchsorted(track.stamps_ns, around_ns, side="right") - 1
    after = np.minimum(before + 1, arrived)
    before = np.where(before < 0, after, before)
    distance_before = np.abs(around_ns - track.stamps_ns[before])
    distance_after = np.abs(track.stamps_ns[after] - around_ns)
    # Of two that are equally near the older one is taken, as in the node.
    places = np.where(distance_after < distance_before, after, before)
    served = (newest >= 0) & (reference.rows[newest] != NONE) & (arrived >= 0) & (track.rows[places] != NONE)
    served &= np.minimum(distance_before, distance_after) <= tolerance_ns
    return np.where(served, places, NONE)

"""What is reported of a recording: rates, gaps and clocks of its topics, and how well each feature served its ticks."""

from typing import Any

import numpy as np

from praxon.datasets.alignment import NONE, Track, make_track
from praxon.datasets.formats._bag_streams import Clock, Series
from praxon.datasets.timing import measure_timing


def report_topic(clock: Clock) -> dict[str, Any]:
    """Measured rate [Hz], gaps, duplicates, stamps that go back, and receipt minus stamp [s] of one topic.

    An interval over one and a half times the median is a gap.
    """
    received = np.array(clock.received_ns, np.int64)
    header = np.array(clock.stamps_ns, np.int64)
    stamped = header > 0
    stamps = np.where(stamped, header, received)
    usable = make_track(stamps, received).stamps_ns
    report: dict[str, Any] = {"messages": len(stamps), "without_stamp": int((~stamped).sum())}
    report |= {"duplicates": int((np.diff(stamps) == 0).sum()), "backwards": int((np.diff(stamps) < 0).sum())}
    if len(usable) > 1:
        rate_hz = measure_timing(usable, 1.0).rate_hz
        timing = measure_timing(usable, rate_hz)
        report |= {"rate_hz": rate_hz, "gaps": timing.gaps, "longest_gap_s": timing.longest_s}
    if stamped.any():
        skew_s = (received - header)[stamped] / 1e9
        report["receipt_minus_stamp_s"] = {
            "median": float(np.median(skew_s)),
            "min": float(skew_s.min()),
            "max": float(skew_s.max()),
        }
    return report


def report_feature(
    series: Series, track: Track, places: np.ndarray, ticks_ns: np.ndarray, complete: np.ndarray, tolerance_ns: float
) -> dict[str, Any]:
    """Topic, messages not used by cause, and of the ticks: without a value, stale, with the value of the one before.

    Args:
        series: what was read.
        track: its usable messages.
        places: (M,) in the track, ``NONE`` for no value.
        ticks_ns: (M,) [ns].
        complete: (M,) which ticks became frames.
        tolerance_ns: age from which a value is stale [ns].
    """
    kept = places[complete]
    ages_ns = ticks_ns[complete] - track.stamps_ns[kept]
    return {
        "topic": series.topic.name,
        "type": series.topic.message_type,
        "not_used": dict(series.dropped + track.dropped),
        "missing_ticks": int((places == NONE).sum()),
        "stale_ticks": int((ages_ns > tolerance_ns).sum()),
        "repeated_ticks": int((np.diff(kept) == 0).sum()),
        "largest_age_s": float(ages_ns.max() / 1e9),
    }

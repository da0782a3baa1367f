"""Figures about success that say how sure they are."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

Z_95 = 1.959963984540054


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 1927), (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def success_summary(successes: int, trials: int, prefix: str = "") -> dict[str, Any]:
    """Successes, rate and 95 % interval under the names used in every ``result.json``."""
    low, high = wilson_interval(successes, trials)
    return {
        f"{prefix}successes": successes,
        f"{prefix}attempts" if prefix else "episodes": trials,
        f"{prefix}success_rate": round(successes / trials, 4) if trials else 0.0,
        f"{prefix}interval_95": [round(low, 4), round(high, 4)],
    }


def latency_summary(latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """Median and 99th percentile [ms], None where nothing was measured."""
    if not len(latencies_ms):
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(np.asarray(latencies_ms), [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}

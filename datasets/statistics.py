"""Statistics of features, from which normalisers are fitted and which the format stores."""

from collections.abc import Mapping
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

Statistics = dict[str, dict[str, np.ndarray]]


def feature_statistics(*parts: np.ndarray) -> dict[str, np.ndarray]:
    """Minimum, maximum, mean, standard deviation and quantiles over the first axis.

    Args:
        parts: (N, *shape) each; several are one after another.

    Returns:
        Arrays of ``shape``, float64, and ``count`` (1,) int64.
    """
    shape, flat = parts[0].shape[1:], [values.reshape(len(values), -1) for values in parts]
    # One component at a time: what is mapped from disk may be larger than memory.
    components = range(flat[0].shape[1])
    found = [_component(np.concatenate([values[:, i] for values in flat], dtype=np.float64)) for i in components]
    whole = {name: np.array([component[name] for component in found]).reshape(shape) for name in found[0]}
    return whole | {"count": np.array([sum(map(len, parts))])}


def _component(values: np.ndarray) -> dict[str, float]:
    quantiles = np.quantile(values, list(QUANTILES.values()))
    return {
        "min": values.min(),
        "max": values.max(),
        "mean": values.mean(),
        "std": values.std(),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


class PictureStatistics:
    """The same per channel for 8-bit pictures scaled to [0, 1], from counts of their 256 values: exact, in constant memory.

    Args:
        channels: of the pictures.
    """

    def __init__(self, channels: int = 3) -> None:
        self._counts = np.zeros((channels, 256), np.int64)
        self._num_pictures = 0

    def add(self, pictures: np.ndarray) -> None:
        """Count pictures (N, height, width, channels) uint8."""
        for counts, channel in zip(self._counts, np.moveaxis(pictures, -1, 0), strict=True):
            counts += np.bincount(channel.reshape(-1), minlength=256)
        self._num_pictures += len(pictures)

    def result(self) -> dict[str, np.ndarray]:
        """What ``feature_statistics`` gives, each (channels, 1, 1); ``count`` counts pictures."""
        found = [self._channel(counts) for counts in self._counts]
        whole = {name: np.array([channel[name] for channel in found]).reshape(-1, 1, 1) for name in found[0]}
        return whole | {"count": np.array([self._num_pictures])}

    @staticmethod
    def _channel(counts: np.ndarray) -> dict[str, float]:
        values, up_to = np.arange(256) / 255.0, np.cumsum(counts)
        mean = float(values @ counts / up_to[-1])

        def ordered(rank: float) -> float:
            """Value at a fractional rank of the sorted pixels, as ``np.quantile`` interpolates."""
            below, above = values[np.searchsorted(up_to, [np.floor(rank), np.ceil(rank)], side="right")]
            return float(below + (rank - np.floor(rank)) * (above - below))

        last = int(up_to[-1]) - 1
        return {
            "min": ordered(0),
            "max": ordered(last),
            "mean": mean,
            "std": float(np.sqrt((values - mean) ** 2 @ counts / up_to[-1])),
            **{name: ordered(share * last) for name, share in QUANTILES.items()},
        }


def to_json(statistics: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Plain lists; scalars become lists of one."""
    return {
        feature: {name: np.atleast_1d(value).tolist() for name, value in values.items()}
        for feature, values in statistics.items()
    }

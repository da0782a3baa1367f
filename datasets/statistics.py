"""Statistics of features, from which normalisers are fitted and which the format stores."""

from collections.abc import Mapping
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

Statistics = dict[str, dict[str, np.ndarray]]


def feature_statistics(values: np.ndarray) -> dict[str, np.ndarray]:
    """Minimum, maximum, mean, standard deviation and quantiles over the first axis.

    Args:
        values: (N, *shape).

    Returns:
        Arrays of ``shape``, float64, and ``count`` (1,) int64.
    """
    values = np.asarray(values, np.float64)
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        **dict(zip(QUANTILES, quantiles, strict=True)),
        "count": np.array([len(values)]),
    }


def picture_statistics(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """The same per channel for pictures (N, height, width, 3) uint8, scaled to [0, 1], each (3, 1, 1)."""
    pixels = pictures.reshape(-1, pictures.shape[-1]) / 255.0
    found = feature_statistics(pixels)
    return {k: v if k == "count" else v.reshape(-1, 1, 1) for k, v in found.items()} | {
        "count": np.array([len(pictures)])
    }


def to_json(statistics: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Plain lists; scalars become lists of one."""
    return {
        feature: {name: np.atleast_1d(value).tolist() for name, value in values.items()}
        for feature, values in statistics.items()
    }

"""Components of a recording as groups of curves: few enough lines in a plot to tell apart, few enough points to send."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from praxon.commands.data._recording import Recording, is_picture
from praxon.contract import Feature

COLOURS = ("#1f77b4", "#e6550d", "#2ca02c", "#d62728", "#7b4fc9", "#8c564b", "#d957b3", "#5f6b7a", "#a3a300", "#12a5b8")
MAX_POINTS = 400


@dataclass(frozen=True)
class Curves:
    """Lines that share one plot.

    Args:
        feature: name of the feature.
        components: which of its flattened components.
        names: of the components.
        unit: of all of them.
    """

    feature: str
    components: tuple[int, ...]
    names: tuple[str, ...]
    unit: str

    def values(self, recording: Recording) -> np.ndarray:
        """(T, len(components)) float64."""
        whole = recording.values[self.feature]
        return whole.reshape(len(recording), -1)[:, list(self.components)].astype(np.float64)


def grouped(features: Iterable[Feature]) -> Iterator[Curves]:
    """The plots of features: one for each unit of a feature, and one more after every ``len(COLOURS)`` components."""
    for feature in features:
        if is_picture(feature):
            continue
        names = feature.names or (("value",) if feature.size == 1 else tuple(map(str, range(feature.size))))
        for unit in dict.fromkeys(feature.units):
            same = [component for component in range(feature.size) if feature.units[component] == unit]
            for first in range(0, len(same), len(COLOURS)):
                chosen = tuple(same[first : first + len(COLOURS)])
                yield Curves(feature.name, chosen, tuple(names[component] for component in chosen), unit)


def thinned(times: np.ndarray, values: np.ndarray, max_points: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most ``max_points`` of (T,) times and (T, C) values: the smallest and the largest of every stretch, so that peaks stay."""
    if len(times) <= max_points:
        return times, values
    edges = np.linspace(0, len(times), max_points // 2 + 1).astype(int)
    starts, middles = edges[:-1], (edges[:-1] + edges[1:]) // 2
    thin = np.empty((2 * len(starts), values.shape[1]))
    thin[0::2], thin[1::2] = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    # The point that comes first in time need not be the smallest; within a stretch narrower than a pixel that is not seen.
    return np.stack([times[starts], times[middles]], axis=1).reshape(-1), thin

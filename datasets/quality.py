"""The quality of a dataset: measures of its frames and episodes, and which episodes stand out.

What is measured, in which unit and after whom is written beside each measure in ``datasets/measures/``; what to do with the
values as weights is in ``quality_weights.py``. Measures say where to look. None of them knows the task: a slow episode may
be the careful one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from praxon.datasets.measures.commands import measure_commands
from praxon.datasets.measures.consistency import measure_consistency
from praxon.datasets.measures.labels import measure_labels
from praxon.datasets.measures.measured import Measure, Measured, Recorded
from praxon.datasets.measures.motion import measure_motion
from praxon.datasets.measures.pictures import measure_pictures
from praxon.errors import DatasetError

OUTLIER_Z = 3.5
"""Robust z-score from which an episode stands out (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993)."""
MIN_EPISODES = 5
"""Among fewer nothing can be said to be usual."""
LEAST_SPREAD = 0.01
"""Spread that is taken for granted, as a share of the median: episodes one frame apart are alike."""


class Outlier(NamedTuple):
    """An episode that stands out in a measure.

    Args:
        episode: index.
        measure: in which.
        value: the episode's.
        low: smallest value of the episodes that do not stand out.
        high: their largest.
        z: robust z-score, positive above the median.
    """

    episode: int
    measure: Measure
    value: float
    low: float
    high: float
    z: float

    def __str__(self) -> str:
        unit = "" if self.measure.unit == "1" else f" {self.measure.unit}"
        return (
            f"Episode {self.episode}: {self.measure.name} is {self.value:.3g}{unit}; {self.low:.3g} to {self.high:.3g}{unit} "
            f"are typical (robust z-score {self.z:+.1f})."
        )


class Row(NamedTuple):
    """A line of the table of a dataset's quality: values over its episodes, and the episodes that stand out."""

    measure: str
    unit: str
    lowest: float
    median: float
    highest: float
    outliers: tuple[int, ...]
    meaning: str


@dataclass(frozen=True)
class Quality:
    """Values of all measures that a dataset permits.

    Args:
        measures: name -> unit, direction and meaning.
        frames: name -> (N,) float32 for measures of single frames, NaN where a frame gives none.
        episodes: name -> (E,) float64 for all measures, NaN where an episode gives none.
        episode_lengths: (E,) frames.
    """

    measures: dict[str, Measure]
    frames: dict[str, np.ndarray]
    episodes: dict[str, np.ndarray]
    episode_lengths: np.ndarray

    def measure(self, name: str) -> Measure:
        """The measure of that name; ``DatasetError`` lists the names there are."""
        if name not in self.measures:
            raise DatasetError(f"'{name}' was not measured. Measures: {', '.join(self.measures)}.")
        return self.measures[name]

    def find_outliers(self, names: Iterable[str] | None = None, threshold: float = OUTLIER_Z) -> list[Outlier]:
        """Episodes whose value is worse than usual, or only unusual where a measure knows no better; the farthest first.

        Args:
            names: of the measures to look at; all where ``None``.
            threshold: robust z-score, (value - median) / (1.4826 MAD), from which an episode stands out. Where more than
                half of the values are equal, MAD is 0 and the mean absolute deviation times 1.2533 takes its place.
        """
        found = []
        for name in self.measures if names is None else names:
            measure, values = self.measure(name), self.episodes[name]
            scores = robust_scores(values)
            stands_out = np.abs(scores) > threshold
            if measure.better:
                stands_out &= np.sign(scores) == -measure.better
            typical = values[np.isfinite(values) & (np.abs(scores) <= threshold)]
            found += [
                Outlier(int(e), measure, float(values[e]), float(typical.min()), float(typical.max()), float(scores[e]))
                for e in np.flatnonzero(stands_out)
            ]
        return sorted(found, key=lambda outlier: -abs(outlier.z))

    def outliers(self, threshold: float = OUTLIER_Z) -> list[str]:
        """A sentence for each of ``find_outliers``, naming episode, measure, value and what is typical."""
        return [str(outlier) for outlier in self.find_outliers(threshold=threshold)]


def measure(
    dataset: Recorded,
    k: int = 10,
    max_frames: int = 50_000,
    exclusion_s: float | None = None,
    pause_speed_share: float = 0.02,
    pictures_per_episode: int = 0,
) -> Quality:
    """Take every measure that the dataset's features permit.

    Memory is that of the result, 4 bytes per frame and measure, and of working sets that do not grow with the dataset.

    Args:
        dataset: anything with columns, a contract and episodes, such as ``LeRobotDataset``.
        k: neighbours in state space that a frame is compared with.
        max_frames: of longer datasets, this many evenly spaced frames are compared; the others take the nearest one's value.
            Time grows with it a little faster than linearly, and with its square where states fill 20 dimensions or more.
        exclusion_s: frames of the same episode are neighbours too when they are farther apart than this [s]; ``None``: only
            frames of other episodes, or of one second away where there is a single episode.
        pause_speed_share: the robot stands still below this share of the 95th percentile of its speed.
        pictures_per_episode: decoded of each episode and camera to measure brightness and sharpness; 0 decodes none.

    Raises:
        DatasetError: no frames, or settings out of range.
    """
    if not len(dataset.episode_lengths) or not np.sum(dataset.episode_lengths):
        raise DatasetError("The quality of a dataset without frames cannot be measured.")
    if k < 2 or max_frames < 2 or not 0 <= pause_speed_share < 1 or pictures_per_episode < 0:
        raise DatasetError(
            "Quality needs k >= 2, max_frames >= 2, 0 <= pause_speed_share < 1 and pictures_per_episode >= 0; got "
            f"{k}, {max_frames}, {pause_speed_share} and {pictures_per_episode}."
        )
    if exclusion_s is None and len(dataset.episode_lengths) == 1:
        exclusion_s = 1.0
    exclusion_frames = None if exclusion_s is None else round(exclusion_s / dataset.contract.chunk.control_period_s)
    found = [
        *measure_motion(dataset, pause_speed_share),
        *measure_commands(dataset),
        *measure_consistency(dataset, k, max_frames, exclusion_frames),
        *measure_labels(dataset),
    ]
    if pictures_per_episode:
        found += measure_pictures(dataset, pictures_per_episode)  # type: ignore[arg-type]
    return _quality(found, dataset)


def describe(quality: Quality) -> list[Row]:
    """The table of a dataset's quality, a row for each measure."""
    rows = []
    for name, measured in quality.measures.items():
        values = quality.episodes[name]
        values = values[np.isfinite(values)]
        low, middle, high = np.quantile(values, [0, 0.5, 1]) if len(values) else (np.nan,) * 3
        outliers = tuple(outlier.episode for outlier in quality.find_outliers([name]))
        rows.append(Row(name, measured.unit, float(low), float(middle), float(high), outliers, measured.meaning))
    return rows


def robust_scores(values: np.ndarray) -> np.ndarray:
    """How many robust standard deviations each value (E,) is from the median; 0 where nothing can be said."""
    finite = values[np.isfinite(values)]
    if len(finite) < MIN_EPISODES:
        return np.zeros(len(values))
    median = float(np.median(finite))
    distances = np.abs(finite - median)
    spread = 1.4826 * float(np.median(distances)) or 1.2533 * float(distances.mean())
    spread = max(spread, LEAST_SPREAD * abs(median))
    return np.nan_to_num((values - median) / spread) if spread > 0 else np.zeros(len(values))


def _quality(found: list[Measured], dataset: Recorded) -> Quality:
    return Quality(
        {each.measure.name: each.measure for each in found},
        {each.measure.name: each.frames for each in found if each.frames is not None},
        {each.measure.name: each.episodes for each in found},
        np.asarray(dataset.episode_lengths),
    )

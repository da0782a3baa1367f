"""What a measure of data quality is and gives: a name, a unit, which way is better, and a number for each episode."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from praxon.contract import PolicyContract


class Recorded(Protocol):
    """The part of a dataset that measures read; ``LeRobotDataset`` has it.

    Attributes:
        columns: feature -> (N, *shape), frames of all episodes in order; ``stamp_ns`` (N,) int64 where it is known.
        contract: which of them are observations and which is the action, with units and rate.
        episode_lengths: (E,) frames.
    """

    @property
    def columns(self) -> dict[str, np.ndarray]: ...

    @property
    def contract(self) -> PolicyContract: ...

    @property
    def episode_lengths(self) -> np.ndarray: ...

    def episode_slice(self, episode: int) -> slice: ...


@dataclass(frozen=True)
class Measure:
    """One way to look at data.

    Args:
        name: key in tables and in the settings of weights.
        unit: of its values; ``spread`` stands for one standard deviation of a component over the dataset.
        better: -1 where less is better, 1 where more is, 0 where neither is and only the unusual is worth a look.
        meaning: what a value says, in a few words.
    """

    name: str
    unit: str
    better: int
    meaning: str


@dataclass(frozen=True)
class Measured:
    """A measure and its values.

    Args:
        measure: what was measured.
        episodes: (E,) float64, NaN where an episode gives none.
        frames: (N,) float32 where it is defined for single frames, NaN where a frame gives none.
    """

    measure: Measure
    episodes: np.ndarray
    frames: np.ndarray | None = None


def over_episodes(function: Any, frames: np.ndarray, dataset: Recorded) -> np.ndarray:
    """``function`` of each episode's finite frames, (E,) float64; NaN for an episode without any."""
    found = np.full(len(dataset.episode_lengths), np.nan)
    for episode in range(len(found)):
        values = frames[dataset.episode_slice(episode)].astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            found[episode] = function(values)
    return found

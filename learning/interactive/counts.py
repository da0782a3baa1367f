"""What happened in episodes that were watched, in numbers that add up."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from praxon.learning.interactive.records import SUCCESS, driven_by_expert


@dataclass(frozen=True)
class Counts:
    """Of episodes.

    Args:
        episodes: of them all.
        env_steps: control steps.
        labels: of the expert, as the method counts them.
        interventions: takeovers.
        intervened: steps in which the expert drove.
        solved: episodes.
        practice_episodes, practice_steps: of them, in which nobody would have helped.
    """

    episodes: int = 0
    env_steps: int = 0
    labels: int = 0
    interventions: int = 0
    intervened: int = 0
    solved: int = 0
    practice_episodes: int = 0
    practice_steps: int = 0

    @classmethod
    def of(cls, frames: Mapping[str, np.ndarray], practice: bool = False) -> "Counts":
        """Of one episode's columns; a label is a step of the expert."""
        driven = driven_by_expert(frames)
        steps, intervened = len(driven), int(driven.sum())
        solved = int(np.asarray(frames[SUCCESS]).any())
        return cls(1, steps, intervened, takeovers(driven), intervened, solved, int(practice), steps * practice)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> "Counts":
        """From what ``asdict`` gave, among other things; what is missing is zero."""
        return cls(**{each.name: kept.get(each.name, 0) for each in fields(cls)})

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def intervention_rate(self) -> float:
        """Share of the steps with somebody at hand in which the expert drove."""
        return self.intervened / max(self.env_steps - self.practice_steps, 1)


def takeovers(driven: np.ndarray) -> int:
    """How often the expert took control in an episode, from who drove at each step (T,)."""
    return int(driven[0]) + int(np.count_nonzero(driven[1:] & ~driven[:-1]))

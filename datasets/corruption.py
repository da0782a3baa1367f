"""Demonstrations made worse on purpose, and marked, to see whether a way of training notices.

Noise on the actions of some trajectories and the ends of others cut off, as in the robustness study of PTR (arXiv 2603.16542,
section 5): N(0, 0.1^2) in units of half an action's range on 30 % of trajectories, 25 % cut to 40 to 70 % of their length. What was
observed is left as it was.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from praxon.contract import Feature
from praxon.datasets.source import Episode, Frames, Source
from praxon.errors import DatasetError

CORRUPTION = Feature("corruption", "vector", (1,), dtype="int64")
"""The column that says what was done to a frame's episode: a sum of these."""
NOISE, CUT = 1, 2


@dataclass(frozen=True)
class Shortened:
    """The first frames of a feature, read as they are sliced."""

    frames: Frames
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(length, *shape)."""
        return (self.length, *self.frames.shape[1:])

    def __getitem__(self, key: slice) -> np.ndarray:
        return self.frames[slice(*key.indices(self.length))]


class Corrupted:
    """A source of the same episodes, some of them worse, with the column ``corruption``.

    Args:
        source: of sound episodes.
        noisy_share: of the episodes whose actions are noisy.
        noise: standard deviation, in half the range of each component of the action.
        cut_share: of the episodes that end early.
        cut_to: least and largest share of their frames that is left of those.
        seed: of which episodes, how much, and the noise.

    Raises:
        DatasetError: a share outside [0, 1], or noise below 0.
    """

    def __init__(
        self,
        source: Source,
        noisy_share: float = 0.3,
        noise: float = 0.1,
        cut_share: float = 0.25,
        cut_to: tuple[float, float] = (0.4, 0.7),
        seed: int = 0,
    ) -> None:
        shares = {
            "noisy_share": noisy_share,
            "cut_share": cut_share,
            "cut_to": min(cut_to),
            "cut_to's end": max(cut_to),
        }
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise DatasetError(f"{name} is {share}; a share from 0 to 1 is needed.")
        if cut_to[0] > cut_to[1]:
            raise DatasetError(f"cut_to is {list(cut_to)}; the least share comes first.")
        if any(feature.name == CORRUPTION.name for feature in source.extra_features):
            raise DatasetError("This dataset is corrupted already; its column 'corruption' says how.")
        if not noise >= 0:
            raise DatasetError(f"noise is {noise}; a standard deviation of at least 0 is needed.")
        self._source, self._noise, self._cut_to, self.seed = source, noise, cut_to, seed
        self.contract, self.robot_type, self.splits = source.contract, source.robot_type, source.splits
        self.extra_features = (*source.extra_features, CORRUPTION)
        self.metadata: dict[str, Any] = source.metadata
        count = len(source)
        rng = np.random.default_rng(seed)
        self.noisy = frozenset(rng.permutation(count)[: round(noisy_share * count)].tolist())
        self.cut = frozenset(rng.permutation(count)[: round(cut_share * count)].tolist())
        actions = [np.asarray(source.episode(index).frames[self.contract.action.name][:]) for index in range(count)]
        self._half_range = (
            np.ptp(np.concatenate(actions), axis=0) / 2 if actions else np.zeros(self.contract.action.shape)
        )

    def __len__(self) -> int:
        return len(self._source)

    def episode(self, index: int) -> Episode:
        """See ``Source.episode``."""
        episode = self._source.episode(index)
        rng = np.random.default_rng([self.seed, index])
        name = self.contract.action.name
        frames: dict[str, Frames] = dict(episode.frames)
        length = whole = int(frames[name].shape[0])
        if index in self.noisy:
            sound = np.asarray(frames[name][:])
            drawn = self._noise * self._half_range * rng.standard_normal(sound.shape)
            frames[name] = (sound + drawn).astype(sound.dtype)
        if index in self.cut:
            length = max(1, round(rng.uniform(*self._cut_to) * whole))
        mark = NOISE * (index in self.noisy) + CUT * (index in self.cut)
        frames[CORRUPTION.name] = np.full((whole, 1), mark, np.int64)
        if length < whole:
            frames = {
                key: values[:length] if isinstance(values, np.ndarray) else Shortened(values, length)
                for key, values in frames.items()
            }
        stamps = None if episode.stamps_ns is None else episode.stamps_ns[:length]
        task = episode.task if isinstance(episode.task, str) else list(episode.task)[:length]
        return Episode(frames, stamps, task)

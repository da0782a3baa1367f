"""Sampling by episode: first an episode, then a frame in it, so that a long episode counts no more than a short one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from praxon.datasets.samplers.weighted import WeightTable, batch_generator, require_batch_size
from praxon.errors import DatasetError


class EpisodeSampler:
    """Batches of constant size; each index is a frame drawn uniformly from an episode drawn by weight.

    Episodes that have no frame left after ``drop_first`` and ``drop_last`` are never drawn.

    Args:
        lengths: (E,) frames per episode; episodes lie one after the other, frame 0 is the first one's first.
        batch_size: indices per batch.
        seed: of all batches.
        weights: (E,) of the episodes; equal where ``None``. The lengths as weights make every frame equally likely.
        drop_first: frames left out at the start of each episode.
        drop_last: frames left out at the end of each episode, e.g. those whose action chunk would be mostly padding.
        distinct: no batch holds two frames of one episode.

    Raises:
        DatasetError: no frame is left, or a batch of distinct episodes is larger than their number.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        weights: np.ndarray | None = None,
        drop_first: int = 0,
        drop_last: int = 0,
        distinct: bool = False,
    ) -> None:
        require_batch_size(batch_size)
        self._first, self._count = _kept(lengths, drop_first, drop_last)
        chosen = np.ones(len(self._count)) if weights is None else np.asarray(weights, np.float64)
        if chosen.shape != self._count.shape:
            raise DatasetError(f"Sampling {len(self._count)} episodes needs as many weights; got {chosen.shape}.")
        self._table = WeightTable(np.where(self._count > 0, chosen, 0.0))
        if distinct and batch_size > self._table.num_positive:
            raise DatasetError(
                f"A batch of {batch_size} frames of distinct episodes needs as many episodes; {self._table.num_positive} "
                "have frames and a weight."
            )
        self.batch_size, self.seed, self.distinct = batch_size, seed, distinct
        self._step = 0

    def next(self) -> np.ndarray:
        """The next ``batch_size`` frame indices, int64."""
        rng = batch_generator(self.seed, self._step)
        self._step += 1
        draw = self._table.draw_distinct if self.distinct else self._table.draw
        episodes = draw(rng, self.batch_size)
        return self._first[episodes] + rng.integers(0, self._count[episodes])

    def state_dict(self) -> dict[str, Any]:
        """How many batches were drawn."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._step = int(state["step"])


def kept_frames(lengths: np.ndarray, drop_first: int = 0, drop_last: int = 0) -> np.ndarray:
    """Indices, ascending int64, of all frames but the first and last ones of each episode.

    ``SubsetSampler(ShuffledSampler(len(kept), ...), kept)`` goes through them epoch by epoch, which is what LeRobot's
    ``EpisodeAwareSampler`` does with ``drop_n_first_frames`` and ``drop_n_last_frames``.
    """
    first, count = _kept(lengths, drop_first, drop_last)
    before = np.cumsum(count) - count
    return np.repeat(first - before, count) + np.arange(count.sum())


def _kept(lengths: np.ndarray, drop_first: int, drop_last: int) -> tuple[np.ndarray, np.ndarray]:
    """First frame and number of frames of each episode without what is dropped."""
    lengths = np.asarray(lengths, np.int64)
    if drop_first < 0 or drop_last < 0:
        raise DatasetError(f"Frames dropped must be at least 0; got {drop_first} first and {drop_last} last ones.")
    count = np.maximum(lengths - drop_first - drop_last, 0)
    if not count.any():
        raise DatasetError(
            f"No frame is left of {len(lengths)} episodes of at most {lengths.max(initial=0)} frames when the first "
            f"{drop_first} and the last {drop_last} of each are dropped."
        )
    return np.cumsum(lengths) - lengths + drop_first, count

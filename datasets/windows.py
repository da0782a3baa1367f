"""Windows: frame index -> observation window and action chunk, gathered for a whole batch at once.

For frame t of an episode of length L, with To observation steps and horizon H:

    observations   t-To+1 ... t     frames before the episode's start repeat its first one
    actions        t ... t+H-1      row 0 is the action of frame t; rows past the end repeat the last, marked in action_is_pad
"""

from collections.abc import Sequence

import numpy as np

from praxon.contract import Chunk
from praxon.datasets.lerobot_format import is_video
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import DatasetError


class Windows:
    """Random access to training samples.

    Args:
        dataset: where from.
        chunk: horizon and number of observation steps.
        episodes: which episodes; all where None.
    """

    def __init__(self, dataset: LeRobotDataset, chunk: Chunk, episodes: Sequence[int] | None = None) -> None:
        chosen = range(dataset.num_episodes) if episodes is None else episodes
        unknown = [episode for episode in chosen if not 0 <= episode < dataset.num_episodes]
        if unknown:
            raise DatasetError(
                f"Episodes {unknown} do not exist; '{dataset.root}' has 0 to {dataset.num_episodes - 1}."
            )
        slices = [dataset.episode_slice(episode) for episode in chosen]
        self.dataset = dataset
        self._frames = np.concatenate([np.arange(s.start, s.stop) for s in slices]) if slices else np.zeros(0, np.int64)
        self._first = np.concatenate([np.full(s.stop - s.start, s.start) for s in slices]) if slices else self._frames
        self._last = np.concatenate([np.full(s.stop - s.start, s.stop - 1) for s in slices]) if slices else self._frames
        self._past = np.arange(1 - chunk.num_obs_steps, 1)
        self._future = np.arange(chunk.horizon)

    def __len__(self) -> int:
        """Samples: the frames of the chosen episodes."""
        return len(self._frames)

    def batch(self, indices: np.ndarray, pictures: bool = True) -> dict[str, np.ndarray]:
        """Samples at ``indices`` (B,) in [0, len); without ``pictures`` nothing is decoded.

        Returns:
            each observation feature (B, num_obs_steps, *shape), ``action`` (B, horizon, A), ``action_is_pad``
            (B, horizon) bool, ``index`` (B,) int64, the global frame index.
        """
        frames, first, last = self._frames[indices], self._first[indices], self._last[indices]
        past = np.maximum(frames[:, None] + self._past, first[:, None])
        future = frames[:, None] + self._future
        contract, columns = self.dataset.contract, self.dataset.columns
        batch = {
            feature.name: self.dataset.frames(feature.name, past) if is_video(feature) else columns[feature.name][past]
            for feature in contract.observations
            if pictures or not is_video(feature)
        }
        batch["action"] = columns[contract.action.name][np.minimum(future, last[:, None])]
        batch["action_is_pad"] = future > last[:, None]
        batch["index"] = frames
        return batch

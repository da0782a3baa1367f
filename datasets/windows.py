"""Windows: frame index -> observation window and action chunk, gathered for a whole batch at once.

For frame t of an episode of length L, with To observation steps, horizon H and a look into the future of F steps:

    observations   t-To+1 ... t      frames before the episode's start repeat its first one, marked in observation_is_pad
    actions        t ... t+H-1       row 0 is the action of frame t; rows past the end repeat the last, marked in action_is_pad
    future         the observation window of frame min(t+F, L-1); future_steps says how many steps that is;
                   with several looks F_1, F_2, ... a window each
    goals          features goal.<observation> of the contract: that observation at a later frame, see hindsight.py
    task           where the contract has it, which of its tasks the frame belongs to, one-hot
"""

from collections.abc import Sequence

import numpy as np

from praxon.contract import Chunk, PolicyContract, observed_name, task_value
from praxon.datasets.hindsight import goal_frames, require_hindsight
from praxon.datasets.lerobot_format import is_picture
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import DatasetError

INTERVENTIONS = ("is_intervention", "pre_intervention")
"""Columns that say who drove, and which step a takeover followed; in every batch where the dataset has them."""


class Windows:
    """Random access to training samples.

    Args:
        dataset: where from.
        chunk: horizon and number of observation steps.
        episodes: which episodes; all where None.
        extras: columns beyond the contract that come with the actions, such as ``next.reward``.
        future: steps F between the observation and the one that comes as ``future.<name>``, or several such steps; none
            where None.
        contract: whose observations are read; the dataset's own where None.
        lead: actions before frame t that come with the chunk: row ``lead`` is then that of frame t. Those before the
            episode's start repeat its first and are marked in action_is_pad.
        hindsight: which later frame a goal comes from, ``final`` or ``future``.
        seed: of the frames that ``future`` draws.
        labels: the column that actions are taken from; the action itself where None.
        keep: (num_frames,) bool, the frames of the dataset that are samples; all where None. Their chunks end with the run of
            kept frames that they lie in: what follows is marked in action_is_pad, as rows past an episode's end are.

    Attributes:
        contract: as above.
        episodes: the chosen ones, in order.
        episode_lengths: (episodes,) samples of each chosen episode, in the order in which they follow one another.
    """

    def __init__(
        self,
        dataset: LeRobotDataset,
        chunk: Chunk,
        episodes: Sequence[int] | None = None,
        *,
        extras: Sequence[str] = (),
        future: int | Sequence[int] | None = None,
        contract: PolicyContract | None = None,
        lead: int = 0,
        hindsight: str = "final",
        seed: int = 0,
        labels: str | None = None,
        keep: np.ndarray | None = None,
    ) -> None:
        require_hindsight(hindsight)
        chosen = range(dataset.num_episodes) if episodes is None else episodes
        unknown = [episode for episode in chosen if not 0 <= episode < dataset.num_episodes]
        if unknown:
            raise DatasetError(
                f"Episodes {unknown} do not exist; '{dataset.root}' has 0 to {dataset.num_episodes - 1}."
            )
        known = [feature.name for feature in dataset.extra_features]
        missing = [name for name in extras if name not in known]
        if missing:
            raise DatasetError(
                f"'{dataset.root}' has no column {', '.join(missing)}; beyond its contract it has {', '.join(known) or 'none'}."
            )
        looks = np.array([] if future is None else future, np.int64)
        if (looks < 1).any() or looks.ndim > 1:
            raise DatasetError(f"A future {future} steps away was asked for; at least 1 is needed.")
        slices = [dataset.episode_slice(episode) for episode in chosen]
        self.dataset = dataset
        self.contract = contract or dataset.contract
        self._frames = np.concatenate([np.arange(s.start, s.stop) for s in slices]) if slices else np.zeros(0, np.int64)
        self._first = np.concatenate([np.full(s.stop - s.start, s.start) for s in slices]) if slices else self._frames
        self._last = np.concatenate([np.full(s.stop - s.start, s.stop - 1) for s in slices]) if slices else self._frames
        if keep is not None:
            self._keep(np.asarray(keep, bool))
        self.labels = self.contract.action.name if labels is None else labels
        if self.labels not in dataset.columns:
            raise DatasetError(f"'{dataset.root}' has no column '{self.labels}' that actions could be taken from.")
        self._past = np.arange(1 - chunk.num_obs_steps, 1)
        self._ahead = np.arange(-lead, chunk.horizon)
        self._looks = looks if future is not None and looks.size else None
        self._hindsight, self._seed = hindsight, seed
        self._tasks = {
            feature.name: np.stack([task_value(feature, text) for text in dataset.tasks])
            for feature in self.contract.observations
            if feature.kind == "task"
        }
        self.episodes = [int(episode) for episode in chosen]
        self.episode_lengths = np.array([np.count_nonzero(self._first == s.start) for s in slices], np.int64)
        self._extras = tuple(dict.fromkeys([*(name for name in INTERVENTIONS if name in known), *extras]))

    def _keep(self, keep: np.ndarray) -> None:
        """Only these frames, each chunk up to the end of its run."""
        if keep.shape != (self.dataset.num_frames,):
            raise DatasetError(
                f"{keep.shape} flags were given for '{self.dataset.root}'; one for each of its {self.dataset.num_frames} frames is "
                "needed."
            )
        kept = keep[self._frames]
        # A run ends where the next frame is not kept, or is of another episode.
        ends = kept & ((self._frames == self._last) | ~np.append(keep, False)[self._frames + 1])
        places = np.flatnonzero(ends)
        chosen = np.flatnonzero(kept)
        self._last = self._frames[places[np.searchsorted(places, chosen)]]
        self._frames, self._first = self._frames[chosen], self._first[chosen]

    def __len__(self) -> int:
        """Samples: the frames of the chosen episodes."""
        return len(self._frames)

    @property
    def frames(self) -> np.ndarray:
        """(len,) the global frame index of each sample: where a weight of a frame belongs."""
        return self._frames

    def batch(self, indices: np.ndarray, pictures: bool = True, draw: int = 0) -> dict[str, np.ndarray]:
        """Samples at ``indices`` (B,) in [0, len); without ``pictures`` nothing is decoded.

        Args:
            draw: number of the batch in the training: what is drawn at random depends on it and on the frame alone.

        Returns:
            each observation feature (B, num_obs_steps, *shape), ``observation_is_pad`` (B, num_obs_steps) bool, ``action``
            (B, horizon, A), ``action_is_pad`` (B, horizon) bool, each extra (B, horizon, *shape), scalars (B, horizon),
            ``index`` (B,) int64, the global frame index; with a future, ``future.<observation>`` (B, num_obs_steps, *shape)
            and ``future_steps`` (B,) int64, less than asked where the episode ends before; (B, F, ...) with F looks.
        """
        indices = np.asarray(indices)
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise DatasetError(
                f"Samples {indices.min()} to {indices.max()} were asked for; there are 0 to {len(self) - 1}."
            )
        frames, first, last = self._frames[indices], self._first[indices], self._last[indices]
        columns = self.dataset.columns
        past = frames[:, None] + self._past
        ahead = frames[:, None] + self._ahead
        goals = goal_frames(frames, last, self._hindsight, self._seed, draw)
        batch = self._observations(np.maximum(past, first[:, None]), goals, pictures)
        batch["observation_is_pad"] = past < first[:, None]
        rows = np.clip(ahead, first[:, None], last[:, None])
        batch["action"] = columns[self.labels][rows]
        batch["action_is_pad"] = (ahead < first[:, None]) | (ahead > last[:, None])
        for name in self._extras:
            values = columns[name][rows]
            batch[name] = values[..., 0] if values.shape[2:] == (1,) else values
        batch["index"] = frames
        if self._looks is not None:
            frame, begin, end = (rows.reshape(-1, *[1] * self._looks.ndim) for rows in (frames, first, last))
            then = np.minimum(frame + self._looks, end)
            window = np.maximum(then[..., None] + self._past, begin[..., None])
            batch |= {f"future.{name}": values for name, values in self._observations(window, goals, pictures).items()}
            batch["future_steps"] = then - frame
        return batch

    def _observations(self, rows: np.ndarray, goals: np.ndarray, pictures: bool) -> dict[str, np.ndarray]:
        """Every feature at ``rows`` (B, ...); goals at the frames ``goals`` (B,), the same for all rows of a sample."""
        found = {}
        for feature in self.contract.observations:
            name = observed_name(feature.name)
            if is_picture(feature) and not pictures:
                continue
            if feature.name in self._tasks:
                found[name] = self._tasks[name][self.dataset.columns["task_index"][rows]]
            elif feature.is_goal:
                once = self._read(name, is_picture(feature), goals)
                spread = once.reshape(len(once), *[1] * (rows.ndim - 1), *feature.shape)
                found[feature.name] = np.broadcast_to(spread, (*rows.shape, *feature.shape)).copy()
            else:
                found[name] = self._read(name, is_picture(feature), rows)
        return found

    def _read(self, name: str, picture: bool, rows: np.ndarray) -> np.ndarray:
        return self.dataset.frames(name, rows) if picture else self.dataset.columns[name][rows]

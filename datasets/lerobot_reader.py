"""Reading LeRobot datasets (v3.0, v2.1): columns for random access, pictures on demand, everything checked first.

Ours carry a contract; for others one is inferred from the feature table (``praxon.datasets.infer``).
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.datasets import lerobot_format as layout
from praxon.datasets.columns import Storage, read_columns
from praxon.datasets.infer import infer_contract
from praxon.datasets.lerobot_index import read_index
from praxon.datasets.metadata_files import read_json
from praxon.datasets.picture_files import PictureFiles
from praxon.datasets.picture_loader import PictureLoader
from praxon.datasets.source import Episode, Frames
from praxon.datasets.statistics import PictureStatistics, Statistics, feature_statistics
from praxon.datasets.video_file import StoredVideo
from praxon.errors import ContractError, DatasetError

CACHE_BYTES = 512 * 2**20
MEMORY_BYTES = 2 * 2**30
MAX_STATISTICS_PICTURES = 20
"""Pictures per episode and camera from which image statistics are taken."""


class LeRobotDataset:
    """A dataset on disk; also a ``praxon.datasets.source.Source``.

    Args:
        root: its folder.
        cache_bytes: of decoded pictures kept in memory [bytes].
        memory_bytes: of columns kept in memory [bytes]; the rest is read from disk as it is used.
        num_threads: that decode pictures; one for each core where None.

    Raises:
        DatasetError: missing, of another version, truncated, or with counts that disagree; the sentence says which.

    Attributes:
        index: where everything is, and info.json.
        contract: what it holds; inferred where the dataset carries none.
        extra_features: columns beyond the contract, such as rewards.
        left_out: features that cannot be read, with the reason.
        metadata: what the writer was told about where the data come from.
        splits: named lists of episodes.
        columns: feature -> (num_frames, *shape) for everything that is not pictures, frames of all episodes in order.
        episode_lengths: (num_episodes,) frames.
        episode_ends: (num_episodes,) index after each episode's last frame.
    """

    def __init__(
        self,
        root: Path,
        cache_bytes: int = CACHE_BYTES,
        memory_bytes: int = MEMORY_BYTES,
        num_threads: int | None = None,
    ) -> None:
        self.root = Path(root)
        self.index = read_index(self.root)
        self.info, self.fps, self.tasks = self.index.info, self.index.fps, self.index.tasks
        self.robot_type: str | None = self.info.get("robot_type")
        self.episode_lengths, self.episode_ends = self.index.lengths, self.index.ends
        self.num_episodes, self.num_frames = len(self.episode_lengths), int(self.episode_ends[-1])
        ours = self._ours()
        self.metadata: dict[str, Any] = ours["metadata"]
        self.left_out: dict[str, str] = {}
        if (self.root / layout.CONTRACT).is_file():
            self._read_contract(ours)
        else:
            self.contract, self.extra_features, self.left_out = infer_contract(self.index)
        self.splits = _splits(self.info, self.num_episodes) | ours["splits"]
        self._storage = Storage(memory_bytes)
        self.columns = self._read_columns()
        self._loader = PictureLoader(cache_bytes, num_threads)
        self._num_threads = num_threads or os.cpu_count() or 1

    def __len__(self) -> int:
        """Episodes."""
        return self.num_episodes

    def episode_slice(self, episode: int) -> slice:
        """Where an episode's frames are in the columns."""
        end = int(self.episode_ends[episode])
        return slice(end - int(self.episode_lengths[episode]), end)

    @property
    def stamps_ns(self) -> np.ndarray | None:
        """(num_frames,) int64 true capture times [ns]; ``None`` where the dataset keeps only the nominal ones."""
        return self.columns.get(layout.STAMP)

    def episode(self, index: int) -> Episode:
        """One episode as every format gives it; pictures stay in their files until they are sliced."""
        if not 0 <= index < self.num_episodes:
            raise DatasetError(f"Episode {index} was asked of '{self.root}', which has 0 to {self.num_episodes - 1}.")
        where = self.episode_slice(index)
        frames: dict[str, Frames] = {}
        for feature in (*self.contract, *self.extra_features):
            if feature.name in self.columns:
                frames[feature.name] = self.columns[feature.name][where]
            elif feature.name in self.index.videos:
                frames[feature.name] = self.stored_video(feature.name, index)
            else:
                frames[feature.name] = _PictureSlice(self, feature, where)
        stamps = self.stamps_ns
        numbers = self.columns["task_index"][where]
        texts = [self.tasks[number] for number in numbers]
        same = len(set(texts)) == 1
        return Episode(frames, None if stamps is None else stamps[where], texts[0] if same else texts)

    def stored_video(self, feature: str, episode: int) -> StoredVideo:
        """Where the pictures of one camera and episode are."""
        track = self.index.videos[feature]
        first = round(float(track.from_s[episode]) * self.fps)
        path = track.files[track.file_of[episode]]
        return StoredVideo(path, first, int(self.episode_lengths[episode]), self.fps)

    def frames(self, feature: str, indices: np.ndarray) -> np.ndarray:
        """Pictures of a feature at global frame indices of any shape, (*indices.shape, height, width, 3) uint8 RGB."""
        wanted, places = np.unique(indices, return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
            raise DatasetError(
                f"Frames {wanted[0]} to {wanted[-1]} were asked of '{self.root}', which has 0 to {self.num_frames - 1}."
            )
        shape = self.contract.feature(feature).shape
        pictures = np.empty((len(wanted), *shape), np.uint8)
        if feature in self.index.videos:
            track = self.index.videos[feature]
            episodes = np.searchsorted(self.episode_ends, wanted, side="right")
            first = np.round(track.from_s[episodes] * self.fps).astype(np.int64)
            numbers = first + wanted - (self.episode_ends - self.episode_lengths)[episodes]
            self._loader.read(track.files, self.fps, track.file_of[episodes], numbers, pictures)
        else:
            stored = self._picture_files[feature]
            with ThreadPoolExecutor(self._num_threads) as pool:
                for place, picture in enumerate(pool.map(stored.read, map(int, wanted))):
                    pictures[place] = picture
        return pictures[places.reshape(-1)].reshape(*np.shape(indices), *shape)

    @cached_property
    def statistics(self) -> Statistics:
        """feature -> {min, max, mean, std, q01, q10, q50, q90, q99, count}; float64 arrays of the feature's shape.

        Those of stored columns are computed from the columns themselves, so that they cannot disagree with the data.
        Those of pictures, (3, 1, 1) and scaled to [0, 1], are the stored ones, or where the writer was killed before it
        wrote them, from a sample of the pictures.
        """
        found: Statistics = {}
        stored = read_json(self.root / layout.STATS) if (self.root / layout.STATS).is_file() else {}
        for feature in (*self.contract, *self.extra_features):
            if not layout.is_picture(feature):
                found[feature.name] = feature_statistics(self.columns[feature.name])
            else:
                known = _stored_statistics(stored.get(feature.name), feature.shape[-1])
                found[feature.name] = known or self.picture_statistics(feature.name)
        return found

    def picture_statistics(self, feature: str) -> dict[str, np.ndarray]:
        """Statistics of a picture feature over at most ``MAX_STATISTICS_PICTURES`` per episode, evenly spaced."""
        statistics = PictureStatistics(self.contract.feature(feature).shape[-1])
        self.add_pictures(statistics, feature)
        return statistics.result()

    def add_pictures(self, statistics: PictureStatistics, feature: str, episodes: Sequence[int] | None = None) -> None:
        """Count an even sample of a feature's pictures, of all or the given episodes, into ``statistics``."""
        for episode in range(self.num_episodes) if episodes is None else episodes:
            where = self.episode_slice(episode)
            step = -(-(where.stop - where.start) // MAX_STATISTICS_PICTURES)
            statistics.add(self.frames(feature, np.arange(where.start, where.stop, step)))

    def require(self, contract: PolicyContract) -> None:
        """``ContractError`` listing both sides unless the data are what a policy under ``contract`` needs."""
        contract.require(self.contract, f"the dataset '{self.root}'")

    def digest(self) -> str:
        """SHA-256 over names and contents of all files, in order: the identity of the data."""
        total = hashlib.sha256()
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                total.update(f"{name.as_posix()}\0".encode())
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    # -- reading ----------------------------------------------------------------------------------

    def _ours(self) -> dict[str, Any]:
        path = self.root / layout.OURS
        data = layout.NOTHING_OURS | (read_json(path) if path.is_file() else {})
        try:
            splits = {str(name): [int(i) for i in episodes] for name, episodes in data["splits"].items()}
            outside = [name for name, episodes in splits.items() if set(episodes) - set(range(self.num_episodes))]
            if outside:
                raise ValueError(f"split '{outside[0]}' has episodes that do not exist")
            return {**data, "metadata": dict(data["metadata"]), "splits": splits}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(f"'{path}' cannot be used: {error}.") from error

    def _read_contract(self, ours: dict[str, Any]) -> None:
        try:
            self.contract = PolicyContract.load(self.root / layout.CONTRACT)
            self.extra_features = tuple(Feature(**feature) for feature in ours["extra_features"])
            told = layout.feature_table(self.contract, self.extra_features)
        except ContractError as error:
            raise DatasetError(f"The dataset '{self.root}' has no usable contract: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"'{self.root / layout.OURS}' or {layout.CONTRACT} cannot be used: {error}.") from error
        if abs(self.fps * self.contract.chunk.control_period_s - 1) > 1e-6:
            raise DatasetError(
                f"The dataset '{self.root}' has {self.fps:g} frames per second by info.json, "
                f"{1 / self.contract.chunk.control_period_s:g} by contract.yaml."
            )
        for name, entry in told.items():
            found = self.index.features.get(name)
            dtypes = ("video", "image") if entry["dtype"] == "video" else (entry["dtype"],)
            names = () if entry["dtype"] == "video" else tuple(entry["names"] or ())
            same = found and found.dtype in dtypes and found.shape == tuple(entry["shape"])
            if found is None or not same or (dtypes[0] != "video" and found.names != names):
                raise DatasetError(
                    f"Feature '{name}' of the dataset '{self.root}' is {_described(found)} by info.json, "
                    f"{entry['dtype']}{entry['shape']} of {_listed(names)} by contract.yaml."
                )

    def _read_columns(self) -> dict[str, np.ndarray]:
        known = [feature.name for feature in (*self.contract, *self.extra_features)]
        if layout.STAMP in self.index.features:
            known.append(layout.STAMP)
        fields = {
            name: (np.dtype(entry.dtype), () if name in (layout.STAMP, *layout.INDEX_COLUMNS) else entry.shape)
            for name, entry in self.index.features.items()
            if (name in known or name in layout.INDEX_COLUMNS) and not entry.is_picture
        }
        columns = read_columns(self.index.data_files, self._rows_per_file(), fields, self._storage)
        starts = np.repeat(self.episode_ends - self.episode_lengths, self.episode_lengths)
        expected = {
            "episode_index": np.repeat(np.arange(self.num_episodes), self.episode_lengths),
            "frame_index": np.arange(self.num_frames) - starts,
        }
        for name, values in expected.items():
            wrong = np.flatnonzero(columns[name] != values)
            if len(wrong):
                raise DatasetError(
                    f"Frame {wrong[0]} of '{self.root}' has {name} {columns[name][wrong[0]]}; "
                    f"by the episodes' lengths it is {values[wrong[0]]}."
                )
        tasks = columns["task_index"]
        if tasks.min() < 0 or tasks.max() >= len(self.tasks):
            raise DatasetError(
                f"The frames of '{self.root}' name the tasks {tasks.min()} to {tasks.max()}; there are {len(self.tasks)}."
            )
        return columns

    def _rows_per_file(self) -> list[int]:
        counts = np.bincount(self.index.data_file_of, self.episode_lengths, len(self.index.data_files))
        return [int(count) for count in counts]

    @cached_property
    def _picture_files(self) -> dict[str, PictureFiles]:
        rows = self._rows_per_file()
        return {
            entry.name: PictureFiles(entry.name, self.index.data_files, rows, entry.shape, self._storage)
            for entry in self.index.features.values()
            if entry.dtype == "image" and entry.name not in self.left_out
        }


@dataclass(frozen=True)
class _PictureSlice:
    """Pictures of one episode that are decoded as they are sliced."""

    dataset: LeRobotDataset
    feature: Feature
    where: slice

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.where.stop - self.where.start, *self.feature.shape)

    def __getitem__(self, key: slice) -> np.ndarray:
        return self.dataset.frames(self.feature.name, np.arange(self.where.start, self.where.stop)[key])


def _splits(info: dict[str, Any], num_episodes: int) -> dict[str, list[int]]:
    """``{"train": "0:50"}`` as lists; ranges that reach beyond the episodes are refused."""
    found = {}
    said = info.get("splits") or {}
    for name, text in said.items() if isinstance(said, dict) else ():
        first, _, last = str(text).partition(":")
        if not (first.isdecimal() and last.isdecimal()) or not int(first) <= int(last) <= num_episodes:
            raise DatasetError(f"Split '{name}' is {text!r}; a range like 0:{num_episodes} is expected.")
        found[str(name)] = list(range(int(first), int(last)))
    return found


def _stored_statistics(known: Any, channels: int) -> dict[str, np.ndarray] | None:
    """Picture statistics of stats.json, where they are complete and of the right shape."""
    if not isinstance(known, dict) or not {"min", "max", "mean", "std", "q01", "q99"} <= set(known):
        return None
    try:
        values = {key: np.array(value, np.float64) for key, value in known.items()}
    except (TypeError, ValueError):
        return None
    same = all(
        value.shape == (channels, 1, 1) and np.isfinite(value).all() for key, value in values.items() if key != "count"
    )
    return values if same else None


def _described(entry: Any) -> str:
    return "missing" if entry is None else f"{entry.dtype}{list(entry.shape)} of {_listed(entry.names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names or ["unnamed components"])

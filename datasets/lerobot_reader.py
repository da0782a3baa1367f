"""Reading LeRobot v3.0 datasets that carry a contract: columns in memory, pictures on demand, everything checked first."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.contract import Feature, PolicyContract
from praxon.datasets import lerobot_format as layout
from praxon.datasets.picture_cache import PictureCache
from praxon.datasets.statistics import PictureStatistics, Statistics, feature_statistics
from praxon.datasets.video_file import VideoReader
from praxon.errors import ContractError, DatasetError

CACHE_BYTES = 512 * 2**20
MAX_STATISTICS_PICTURES = 20
"""Pictures per episode and camera from which image statistics are taken."""


class LeRobotDataset:
    """A dataset on disk.

    Args:
        root: its folder.
        cache_bytes: of decoded pictures kept in memory [bytes].

    Raises:
        DatasetError: missing, of another version, truncated, or with counts that disagree; the sentence says which.

    Attributes:
        contract: what it holds.
        extra_features: columns beyond the contract, such as rewards.
        metadata: what the writer was told about where the data come from.
        columns: feature -> (num_frames, *shape) for everything that is not video, frames of all episodes in order.
        episode_lengths: (num_episodes,) frames.
        episode_ends: (num_episodes,) index after each episode's last frame.
    """

    def __init__(self, root: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self.root = Path(root)
        if not (self.root / layout.INFO).is_file():
            raise DatasetError(
                f"There is no dataset at '{self.root}' ({layout.INFO} is missing); praxon collect writes one."
            )
        self.info = self._json(layout.INFO)
        version = str(self.info.get("codebase_version"))
        if version != layout.VERSION:
            raise DatasetError(f"The dataset '{self.root}' has version {version}; {layout.VERSION} can be read.")
        try:
            self.contract = PolicyContract.load(self.root / layout.CONTRACT)
        except ContractError as error:
            raise DatasetError(f"The dataset '{self.root}' has no usable contract: {error}") from error
        ours = self._json(layout.OURS) if (self.root / layout.OURS).is_file() else layout.NOTHING_OURS
        try:
            self.metadata: dict[str, Any] = dict(ours["metadata"])
            self.extra_features = tuple(Feature(**feature) for feature in ours["extra_features"])
            self.num_episodes, num_frames = int(self.info["total_episodes"]), int(self.info["total_frames"])
        except (KeyError, TypeError, ValueError, ContractError) as error:
            raise DatasetError(f"'{self.root / layout.INFO}' or {layout.OURS} is incomplete: {error!r}.") from error
        if self.num_episodes == 0:
            raise DatasetError(f"The dataset '{self.root}' holds no finished episode.")
        self._require_same_features()
        self.columns, lengths = self._read_data()
        self.episode_lengths = np.array(lengths)
        self.episode_ends = np.cumsum(self.episode_lengths)
        self.num_frames = int(self.episode_ends[-1])
        if self.num_frames != num_frames:
            raise DatasetError(
                f"The dataset '{self.root}' holds {self.num_frames} frames; its info.json says {num_frames}."
            )
        self._pictures: PictureCache[tuple[str, int]] = PictureCache(self._open_video, cache_bytes)

    def _require_same_features(self) -> None:
        """info.json and contract.yaml name the same features, components in the same order."""
        told = self.info.get("features", {})
        for name, entry in layout.feature_table(self.contract, self.extra_features).items():
            said = told.get(name, {})
            if said.get("names") != entry["names"] or said.get("dtype") != entry["dtype"]:
                raise DatasetError(
                    f"Feature '{name}' of the dataset '{self.root}' is {said.get('dtype')} of {_listed(said.get('names'))} by "
                    f"info.json, {entry['dtype']} of {_listed(entry['names'])} by contract.yaml."
                )

    def episode_slice(self, episode: int) -> slice:
        """Where an episode's frames are in the columns."""
        end = int(self.episode_ends[episode])
        return slice(end - int(self.episode_lengths[episode]), end)

    def frames(self, feature: str, indices: np.ndarray) -> np.ndarray:
        """Pictures of a video feature at global frame indices of any shape, (*indices.shape, height, width, 3) uint8."""
        wanted, places = np.unique(indices, return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
            raise DatasetError(
                f"Frames {wanted[0]} to {wanted[-1]} were asked of '{self.root}', which has 0 to {self.num_frames - 1}."
            )
        shape = self.contract.feature(feature).shape
        pictures = np.empty((len(wanted), *shape), np.uint8)
        episodes = np.searchsorted(self.episode_ends, wanted, side="right")
        for episode in map(int, np.unique(episodes)):
            chosen = episodes == episode
            numbers = wanted[chosen] - self.episode_slice(episode).start
            pictures[chosen] = self._pictures.read((feature, episode), numbers)
        return pictures[places.reshape(-1)].reshape(*np.shape(indices), *shape)

    @cached_property
    def statistics(self) -> Statistics:
        """feature -> {min, max, mean, std, q01, q10, q50, q90, q99, count}; float64 arrays of the feature's shape.

        Those of stored columns are computed from the columns themselves, so that they cannot disagree with the data.
        Those of pictures, (3, 1, 1) and scaled to [0, 1], are the stored ones, or where the writer was killed before it
        wrote them, from a sample of the pictures.
        """
        found = {
            feature.name: feature_statistics(self.columns[feature.name])
            for feature in (*self.contract, *self.extra_features)
            if not layout.is_video(feature)
        }
        videos = [feature.name for feature in self.contract if layout.is_video(feature)]
        if videos:
            stored = self._json(layout.STATS) if (self.root / layout.STATS).is_file() else {}
            for name in videos:
                known = stored.get(name)
                found[name] = (
                    {key: np.array(value) for key, value in known.items()} if known else self.picture_statistics(name)
                )
        return found

    def picture_statistics(self, feature: str) -> dict[str, np.ndarray]:
        """Statistics of a video feature over at most ``MAX_STATISTICS_PICTURES`` per episode, evenly spaced."""
        statistics = PictureStatistics(self.contract.feature(feature).shape[-1])
        for start, end in zip(self.episode_ends - self.episode_lengths, self.episode_ends, strict=True):
            statistics.add(self.frames(feature, np.arange(start, end, -(-(end - start) // MAX_STATISTICS_PICTURES))))
        return statistics.result()

    def require(self, contract: PolicyContract) -> None:
        """``ContractError`` listing both sides unless the data are what a policy under ``contract`` needs."""
        contract.require(self.contract, f"the dataset '{self.root}'")

    def digest(self) -> str:
        """SHA-256 over names and contents of all files, in order: the identity of the data."""
        total = hashlib.sha256()
        for path in sorted(self.root.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                total.update(f"{path.relative_to(self.root).as_posix()}\0".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
        return total.hexdigest()

    # -- reading ----------------------------------------------------------------------------------

    def _read_data(self) -> tuple[dict[str, np.ndarray], list[int]]:
        schema = layout.data_schema(self.contract, self.extra_features)
        tables, lengths = [], []
        for episode in range(self.num_episodes):
            entry = self._parquet(layout.place(self.root, layout.EPISODES_PATH, episode))
            table = self._parquet(layout.place(self.root, layout.DATA_PATH, episode))
            if table.schema.names != schema.names or any(table.schema.field(f.name).type != f.type for f in schema):
                raise DatasetError(
                    f"Episode {episode} of '{self.root}' has the columns {', '.join(map(str, table.schema.names))} in types that "
                    f"are not the contract's; expected {', '.join(schema.names)}."
                )
            length = int(entry["length"][0].as_py())
            if table.num_rows != length:
                raise DatasetError(
                    f"Episode {episode} of '{self.root}' holds {table.num_rows} frames; its entry says {length}."
                )
            tables.append(table)
            lengths.append(length)
        whole = pa.concat_tables(tables).combine_chunks()
        shapes = {feature.name: feature.shape for feature in (*self.contract, *self.extra_features)}
        columns = {}
        for field in schema:
            column = layout.from_arrow(whole[field.name].chunk(0))
            columns[field.name] = column.reshape(whole.num_rows, *shapes.get(field.name, ()))
        return columns, lengths

    def _open_video(self, key: tuple[str, int]) -> VideoReader:
        feature, episode = key
        path = layout.place(self.root, layout.VIDEO_PATH, episode, video_key=feature)
        reader = VideoReader(path, layout.frames_per_second(self.contract))
        if reader.num_pictures != self.episode_lengths[episode]:
            raise DatasetError(
                f"The video '{path}' holds {reader.num_pictures} pictures; "
                f"episode {episode} has {self.episode_lengths[episode]} frames."
            )
        return reader

    def _parquet(self, path: Path) -> pa.Table:
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"'{path}' cannot be read: {' '.join(str(error).split())}.") from error

    def _json(self, name: str) -> dict[str, Any]:
        try:
            data = json.loads((self.root / name).read_text())
        except (OSError, ValueError) as error:
            raise DatasetError(f"'{self.root / name}' cannot be read: {error}.") from error
        if not isinstance(data, dict):
            raise DatasetError(f"'{self.root / name}' holds no mapping.")
        return data


def _listed(names: list[str] | None) -> str:
    return ", ".join(names or ["unnamed components"])

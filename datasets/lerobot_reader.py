"""Reading LeRobot v3.0 datasets that carry a contract: columns in memory, pictures on demand, everything checked first."""

import hashlib
import json
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.contract import PolicyContract
from praxon.datasets import lerobot_format as layout
from praxon.datasets.statistics import Statistics, feature_statistics
from praxon.datasets.video_file import read_video
from praxon.errors import ContractError, DatasetError

CACHED_VIDEOS = 64


class LeRobotDataset:
    """A dataset on disk.

    Args:
        root: its folder.

    Raises:
        DatasetError: missing, of another version, truncated, or with counts that disagree; the sentence says which.

    Attributes:
        contract: what it holds.
        columns: feature -> (num_frames, *shape) for everything that is not video, frames of all episodes in order.
        episode_ends: (num_episodes,) index after each episode's last frame.
    """

    def __init__(self, root: Path) -> None:
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
        self.num_episodes = int(self.info["total_episodes"])
        if self.num_episodes == 0:
            raise DatasetError(f"The dataset '{self.root}' holds no finished episode.")
        self.columns, lengths = self._read_data()
        self.episode_lengths = np.array(lengths)
        self.episode_ends = np.cumsum(self.episode_lengths)
        self.num_frames = int(self.episode_ends[-1])
        if self.num_frames != int(self.info["total_frames"]):
            raise DatasetError(
                f"The dataset '{self.root}' holds {self.num_frames} frames; its info.json says {self.info['total_frames']}."
            )

    def episode_slice(self, episode: int) -> slice:
        """Where an episode's frames are in the columns."""
        end = int(self.episode_ends[episode])
        return slice(end - int(self.episode_lengths[episode]), end)

    def frames(self, feature: str, indices: np.ndarray) -> np.ndarray:
        """Pictures of a video feature at global frame indices of any shape, (*indices.shape, height, width, 3) uint8."""
        flat = np.asarray(indices).reshape(-1)
        episodes = np.searchsorted(self.episode_ends, flat, side="right")
        height, width, channels = self.contract.feature(feature).shape
        pictures = np.empty((len(flat), height, width, channels), np.uint8)
        for episode in np.unique(episodes):
            chosen = episodes == episode
            pictures[chosen] = self._video(feature, int(episode))[flat[chosen] - self.episode_slice(int(episode)).start]
        return pictures.reshape(*np.shape(indices), height, width, channels)

    @cached_property
    def statistics(self) -> Statistics:
        """feature -> {min, max, mean, std, q01, q10, q50, q90, q99, count}; float64 arrays of the feature's shape.

        Those of stored columns are computed from the columns themselves, so that they cannot disagree with the data;
        those of pictures are the stored ones.
        """
        found = {
            feature.name: feature_statistics(self.columns[feature.name])
            for feature in self.contract
            if not layout.is_video(feature)
        }
        videos = [feature.name for feature in self.contract if layout.is_video(feature)]
        if videos:
            stored = self._json(layout.STATS)
            found |= {name: {key: np.array(value) for key, value in stored[name].items()} for name in videos}
        return found

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
        schema = layout.data_schema(self.contract)
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
        shapes = {feature.name: feature.shape for feature in self.contract}
        columns = {}
        for field in schema:
            column = whole[field.name].chunk(0)
            if pa.types.is_fixed_size_list(field.type):
                column = column.flatten()
            columns[field.name] = column.to_numpy(zero_copy_only=False).reshape(
                whole.num_rows, *shapes.get(field.name, ())
            )
        return columns, lengths

    @lru_cache(maxsize=CACHED_VIDEOS)  # noqa: B019  (a dataset lives as long as its process)
    def _video(self, feature: str, episode: int) -> np.ndarray:
        path = layout.place(self.root, layout.VIDEO_PATH, episode, video_key=feature)
        pictures = read_video(path)
        if len(pictures) != self.episode_lengths[episode]:
            raise DatasetError(
                f"The video '{path}' holds {len(pictures)} pictures; episode {episode} has {self.episode_lengths[episode]} frames."
            )
        return pictures

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

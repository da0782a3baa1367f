"""Writing LeRobot v3.0 datasets in which every finished episode is safe, whatever happens during the next one.

Each episode goes into data, video and episode files of its own; the episode file is written last and is what makes
the episode count. Every file is written beside, flushed to disk and renamed into place.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.contract import Feature, PolicyContract
from praxon.datasets import lerobot_format as layout
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.statistics import feature_statistics, to_json
from praxon.datasets.video_file import write_video
from praxon.errors import ContractError, DatasetError


class LeRobotWriter:
    """Writes episodes of one task; a context manager that writes the statistics at the end.

    Args:
        root: folder of the dataset; must not exist or be empty, unless ``resume``.
        contract: features, names, units and rate of what will be written.
        task: the instruction in words.
        robot_type: name of the robot.
        extra_features: columns beyond the contract that policies do not read, e.g. ``next.reward``, ``next.success``.
        metadata: where the data come from (seeds, versions); plain values, stored in ``meta/praxon.json``.
        resume: go on behind the last finished episode where the folder holds a dataset of exactly this kind.

    Raises:
        DatasetError: the folder holds something else, or the disk refuses.
    """

    def __init__(
        self,
        root: Path,
        contract: PolicyContract,
        task: str,
        robot_type: str | None = None,
        *,
        extra_features: Sequence[Feature] = (),
        metadata: Mapping[str, Any] | None = None,
        resume: bool = False,
    ) -> None:
        self.root = Path(root)
        self.contract = contract
        self.num_episodes = 0
        self.num_frames = 0
        self._task, self._robot_type = task, robot_type
        self._fps = layout.frames_per_second(contract)
        self._features = (*contract, *extra_features)
        self._extra = tuple(extra_features)
        self._schema = layout.data_schema(contract, self._extra)
        names = [feature.name for feature in self._features]
        if len(set(names) | {layout.STAMP, *layout.INDEX_COLUMNS}) != len(names) + 1 + len(layout.INDEX_COLUMNS):
            raise DatasetError(f"Features must have names of their own; got {', '.join(names)}.")
        pictures = [feature.name for feature in self._extra if layout.is_video(feature)]
        if pictures:
            raise DatasetError(f"Pictures belong in the contract, not in extra_features: {', '.join(pictures)}.")
        if resume and (self.root / layout.INFO).is_file():
            self._continue(dict(metadata or {}))
            return
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise DatasetError(
                f"The folder '{self.root}' already holds something; a new dataset needs a folder of its own."
            )
        self._durable(layout.CONTRACT, self.contract.save)
        self._durable(layout.TASKS, lambda path: pq.write_table(_tasks_table(task), path))
        if self._extra or metadata:
            ours = json.dumps(self._ours(dict(metadata or {})), indent=1, sort_keys=True)
            self._durable(layout.OURS, lambda path: path.write_text(ours))
        self._write_info()

    def add_episode(self, frames: Mapping[str, np.ndarray], stamps_ns: np.ndarray | None = None) -> int:
        """Write one episode; it is on disk when this returns.

        Args:
            frames: every feature of the contract and every extra one, (T, *shape) in its type.
            stamps_ns: (T,) true capture times [ns]; the nominal ones where None.

        Returns:
            The episode's index.

        Raises:
            DatasetError: a feature is missing, extra, of another shape or type, of unequal length, not finite, or stamps
                do not increase; nothing is written then. Or the disk refuses; earlier episodes are as they were.
        """
        length = self._checked_length(frames)
        if stamps_ns is None:
            stamps_ns = np.arange(length, dtype=np.int64) * round(1e9 / self._fps)
        stamps_ns = np.asarray(stamps_ns, np.int64)
        if stamps_ns.shape != (length,) or (np.diff(stamps_ns) <= 0).any():
            raise DatasetError(f"Episode {self.num_episodes} has stamps that do not increase frame by frame.")
        episode = self.num_episodes
        row: dict[str, Any] = {
            "episode_index": episode,
            "tasks": [self._task],
            "length": length,
            **_location("data", episode),
            "dataset_from_index": self.num_frames,
            "dataset_to_index": self.num_frames + length,
        }
        for feature in self._features:
            if not layout.is_video(feature):
                continue
            path = layout.place(Path(), layout.VIDEO_PATH, episode, video_key=feature.name)
            self._durable(str(path), partial(write_video, pictures=frames[feature.name], fps=self._fps))
            row |= _location(f"videos/{feature.name}", episode)
            row |= {
                f"videos/{feature.name}/from_timestamp": 0.0,
                f"videos/{feature.name}/to_timestamp": length / self._fps,
            }
        table = self._table(frames, stamps_ns)
        self._durable(str(layout.place(Path(), layout.DATA_PATH, episode)), lambda path: pq.write_table(table, path))
        row |= _location("meta/episodes", episode)
        entry = pa.Table.from_pylist([row])
        self._durable(
            str(layout.place(Path(), layout.EPISODES_PATH, episode)), lambda path: pq.write_table(entry, path)
        )
        self.num_episodes += 1
        self.num_frames += length
        self._write_info()
        return episode

    def finalize(self) -> None:
        """Write the statistics of everything written, as it is read back."""
        (self.root / layout.STATS).unlink(missing_ok=True)
        dataset = LeRobotDataset(self.root)
        index_columns = {name: dataset.columns[name][:, None] for name in (layout.STAMP, *layout.INDEX_COLUMNS)}
        statistics = dataset.statistics | {k: feature_statistics(v) for k, v in index_columns.items()}
        text = json.dumps(to_json(statistics), indent=1)
        self._durable(layout.STATS, lambda path: path.write_text(text))

    def __enter__(self) -> "LeRobotWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.num_episodes:
            self.finalize()

    # -- pieces -----------------------------------------------------------------------------------

    def _checked_length(self, frames: Mapping[str, np.ndarray]) -> int:
        here = f"Episode {self.num_episodes}"
        wanted = {feature.name for feature in self._features}
        if set(frames) != wanted:
            raise DatasetError(
                f"{here} has the features {', '.join(sorted(frames))}; the contract says {', '.join(sorted(wanted))}."
            )
        lengths = {name: len(values) for name, values in frames.items()}
        if len(set(lengths.values())) != 1 or not min(lengths.values()):
            raise DatasetError(f"{here} has features of unequal or no length: {lengths}.")
        for feature in self._features:
            values = frames[feature.name]
            if values.shape[1:] != feature.shape or values.dtype != np.dtype(feature.dtype):
                raise DatasetError(
                    f"{here}: feature '{feature.name}' is {values.dtype}{values.shape[1:]} per frame; "
                    f"the contract says {feature.dtype}{feature.shape}."
                )
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DatasetError(f"{here}: feature '{feature.name}' holds values that are not finite.")
        return lengths.popitem()[1]

    def _table(self, frames: Mapping[str, np.ndarray], stamps_ns: np.ndarray) -> pa.Table:
        count = len(stamps_ns)
        index = np.arange(count)
        columns: dict[str, np.ndarray] = {
            **frames,
            layout.STAMP: stamps_ns,
            "timestamp": (index / self._fps).astype(np.float32),
            "frame_index": index,
            "episode_index": np.full(count, self.num_episodes),
            "index": self.num_frames + index,
            "task_index": np.zeros(count, np.int64),
        }
        arrays = [layout.to_arrow(columns[field.name], field.type) for field in self._schema]
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _write_info(self) -> None:
        text = json.dumps(self._info(), indent=1)
        self._durable(layout.INFO, lambda path: path.write_text(text))

    def _info(self) -> dict[str, Any]:
        videos = any(layout.is_video(feature) for feature in self._features)
        return {
            "codebase_version": layout.VERSION,
            "robot_type": self._robot_type,
            "total_episodes": self.num_episodes,
            "total_frames": self.num_frames,
            "total_tasks": 1,
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{self.num_episodes}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH if videos else None,
            "features": layout.feature_table(self.contract, self._extra),
        }

    def _ours(self, metadata: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": metadata, "extra_features": layout.to_plain(self._extra)}

    def _continue(self, metadata: dict[str, Any]) -> None:
        """Take over the counts of the dataset that is there, or refuse it naming what differs."""
        try:
            info = json.loads((self.root / layout.INFO).read_text())
            self.num_episodes, self.num_frames = int(info["total_episodes"]), int(info["total_frames"])
            ours_path = self.root / layout.OURS
            ours = json.loads(ours_path.read_text()) if ours_path.is_file() else layout.NOTHING_OURS
            pairs = {
                "contract": (PolicyContract.load(self.root / layout.CONTRACT), self.contract),
                "task": (pq.read_table(self.root / layout.TASKS)["task"].to_pylist(), [self._task]),
                "extra features": (ours["extra_features"], layout.to_plain(self._extra)),
                "metadata": (ours["metadata"], json.loads(json.dumps(metadata))),
                "robot or layout": (info, json.loads(json.dumps(self._info()))),
            }
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, ContractError) as error:
            raise DatasetError(f"The dataset '{self.root}' cannot be continued: {error}.") from error
        differing = [name for name, (there, asked) in pairs.items() if there != asked]
        if differing:
            raise DatasetError(
                f"The dataset '{self.root}' cannot be continued: {', '.join(differing)} differ from what was asked."
            )
        # They are of fewer episodes than there will be; a reader without them computes its own.
        (self.root / layout.STATS).unlink(missing_ok=True)

    def _durable(self, name: str, write: Callable[[Path], Any]) -> None:
        """Write a file beside its place, flush it to disk, rename it."""
        path = self.root / name
        temporary = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)  # a rename is on disk when its folder is
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise DatasetError(
                f"'{path}' could not be written ({error.strerror or error}); the {self.num_episodes} finished episodes are safe."
            ) from error


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _location(prefix: str, number: int) -> dict[str, int]:
    chunk, file = divmod(number, layout.FILES_PER_CHUNK)
    return {f"{prefix}/chunk_index": chunk, f"{prefix}/file_index": file}


def _tasks_table(task: str) -> pa.Table:
    """Tasks as pandas would write them: the instruction is the index. Readers find it by this metadata."""
    column = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    index = {"pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": "task_index", "field_name": "task_index", **column},
            {"name": "task", "field_name": "task", **index},
        ],
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([task])})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})

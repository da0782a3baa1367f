"""Writing LeRobot v3.0 datasets in which every finished episode is safe, whatever happens during the next one.

Each episode goes into data, video and episode files of its own; the episode file is written last and is what makes
the episode count. ``praxon.datasets.packing`` gathers them into few large files afterwards.
"""

import json
import os
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from praxon.contract import Feature, PolicyContract
from praxon.datasets import lerobot_format as layout
from praxon.datasets.durable import lock_folder, part_of, write_durably
from praxon.datasets.episode_recorder import EpisodeRecorder
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.picture_files import encode_png
from praxon.datasets.source import Frames
from praxon.datasets.statistics import feature_statistics, to_json
from praxon.datasets.timing import measure_timing
from praxon.datasets.video_file import (
    StoredVideo,
    VideoReader,
    available_codecs,
    copy_video,
    require_codec,
    write_video,
)
from praxon.errors import ContractError, DatasetError

BLOCK = 64
"""Pictures held in memory at a time."""
TIMING_COLUMNS = {"praxon/measured_rate_hz": "rate_hz", "praxon/gaps": "gaps", "praxon/duplicates": "duplicates"}
"""What the stamps say, in columns of the episode table that readers of the format ignore."""


class LeRobotWriter:
    """Writes episodes; a context manager that writes the statistics at the end.

    Args:
        root: folder of the dataset; must not exist or be empty, unless ``resume``.
        contract: features, names, units and rate of what will be written.
        task: the instruction in words, for episodes that are added without one; None where each brings its own.
        robot_type: name of the robot.
        extra_features: columns beyond the contract that policies do not read, e.g. ``next.reward``, ``next.success``.
        metadata: where the data come from (seeds, versions); plain values, stored in ``meta/praxon.json``.
        codec: how pictures are stored: a codec of ``praxon.datasets.video_file``, or ``png`` for no loss at all.
        resume: go on behind the last finished episode where the folder holds a dataset of exactly this kind, or what a
            writer left that ended before its first episode.

    Attributes:
        splits: named lists of episodes, stored at the end.

    Raises:
        DatasetError: the folder holds something else, or the disk refuses.
    """

    def __init__(
        self,
        root: Path,
        contract: PolicyContract,
        task: str | None = None,
        robot_type: str | None = None,
        *,
        extra_features: Sequence[Feature] = (),
        metadata: Mapping[str, Any] | None = None,
        codec: str = "h264",
        resume: bool = False,
    ) -> None:
        self.root = Path(root)
        self.contract = contract
        self.num_episodes = 0
        self.num_frames = 0
        self.splits: dict[str, list[int]] = {}
        self.features = (*contract, *extra_features)
        self.codec = codec
        self.fps = layout.frames_per_second(contract)
        self._task, self._robot_type = task, robot_type
        self._tasks: list[str] = []
        self._extra = tuple(extra_features)
        self._metadata = dict(metadata or {})
        self._recorder: weakref.ref[EpisodeRecorder] | None = None
        names = [feature.name for feature in self.features]
        if len(set(names) | {layout.STAMP, *layout.INDEX_COLUMNS}) != len(names) + 1 + len(layout.INDEX_COLUMNS):
            raise DatasetError(f"Features must have names of their own; got {', '.join(names)}.")
        unusable = [name for name in names if not layout.is_folder_name(name)]
        if unusable:
            raise DatasetError(
                f"Features are named like folders, without '/' or a leading '.'; got {', '.join(unusable)}."
            )
        pictures = [feature.name for feature in self._extra if layout.is_picture(feature)]
        if pictures:
            raise DatasetError(f"Pictures belong in the contract, not in extra_features: {', '.join(pictures)}.")
        if codec not in (layout.PNG, *available_codecs()):
            raise DatasetError(
                f"Pictures cannot be stored as '{codec}' here; available: {', '.join((*available_codecs(), layout.PNG))}."
            )
        for feature in contract:
            if layout.is_picture(feature) and codec != layout.PNG:
                require_codec(codec, *feature.shape[:2])
        self._table = layout.feature_table(contract, self._extra, codec)
        self._schema = layout.data_schema(self._table)
        # Held as long as this object lives; a killed process holds nothing.
        self._unlock = weakref.finalize(self, os.close, lock_folder(self.root))
        try:
            self._begin(resume)
        except BaseException:
            self._unlock()
            raise

    def open_episode(self, task: str | None = None) -> EpisodeRecorder:
        """An episode that is recorded frame by frame; pictures are encoded as they come."""
        self._require_none_open()
        recorder = EpisodeRecorder(self, task)
        self._recorder = weakref.ref(recorder)
        return recorder

    def add_episode(
        self,
        frames: Mapping[str, Frames],
        stamps_ns: np.ndarray | None = None,
        task: str | Sequence[str] | None = None,
    ) -> int:
        """Write one episode; it is on disk when this returns.

        Args:
            frames: every feature of the contract and every extra one, (T, *shape) in its type. Pictures may be anything
                that is read as it is sliced; a ``StoredVideo`` is copied without a second compression where that is possible.
            stamps_ns: (T,) true capture times [ns]; the nominal ones where None.
            task: the instruction, or one for each frame; the writer's own where None.

        Returns:
            The episode's index.

        Raises:
            DatasetError: a feature is missing, extra, of another shape or type, of unequal length, not finite, or stamps
                decrease; the dataset is as it was then. Or the disk refuses; earlier episodes are as they were.
        """
        self._require_none_open()
        length = self._checked_length(frames)
        stamps_ns = self._checked_stamps(stamps_ns, length)
        texts = self._checked_texts(task, length)
        columns: dict[str, Any] = {}
        for feature in self.features:
            values = frames[feature.name]
            if not layout.is_picture(feature):
                columns[feature.name] = values
            elif self.codec == layout.PNG:
                columns[feature.name] = [
                    data for start in range(0, length, BLOCK) for data in map(encode_png, values[start : start + BLOCK])
                ]
            elif isinstance(values, StoredVideo) and self._is_as_asked(values):
                self._write(str(self.video_path(feature.name)), partial(copy_video, values))
            else:
                write = partial(write_video, pictures=values, fps=self.fps, codec=self.codec)
                self._write(str(self.video_path(feature.name)), write)
        return self.commit(columns, stamps_ns, texts)

    def finalize(self) -> None:
        """Write named splits, and the statistics of everything written, as it is read back."""
        if self.splits:
            self._write_ours()
        (self.root / layout.STATS).unlink(missing_ok=True)
        dataset = LeRobotDataset(self.root)
        index_columns = {name: dataset.columns[name][:, None] for name in (layout.STAMP, *layout.INDEX_COLUMNS)}
        statistics = dataset.statistics | {k: feature_statistics(v) for k, v in index_columns.items()}
        text = json.dumps(to_json(statistics), indent=1)
        self._write(layout.STATS, lambda path: path.write_text(text))

    def __enter__(self) -> "LeRobotWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        recorder = self._open_recorder()
        if recorder is not None:
            recorder.abort()
        if self.num_episodes:
            self.finalize()
        self._unlock()

    # -- for the recorder ---------------------------------------------------------------------------

    def video_path(self, camera: str) -> Path:
        """Where the pictures of the next episode go, below ``root``."""
        return layout.place(Path(), layout.VIDEO_PATH, self.num_episodes, video_key=camera)

    def commit(self, columns: Mapping[str, Any], stamps_ns: np.ndarray, task: str | Sequence[str] | None) -> int:
        """Write the table and the entry of an episode whose videos are in place; returns its index."""
        episode, length = self.num_episodes, len(stamps_ns)
        texts = self._checked_texts(task, length)
        numbers = self._task_numbers(texts)
        table = self._data_table(columns, stamps_ns, numbers)
        self._write(str(layout.place(Path(), layout.DATA_PATH, episode)), partial(pq.write_table, table))
        timing = measure_timing(stamps_ns, self.fps)
        row: dict[str, Any] = {
            "episode_index": episode,
            "tasks": list(dict.fromkeys(texts)),
            "length": length,
            **layout.location("data", episode),
            "dataset_from_index": self.num_frames,
            "dataset_to_index": self.num_frames + length,
        }
        for name, entry in self._table.items():
            if entry["dtype"] == "video":
                row |= layout.location(f"videos/{name}", episode)
                row |= {f"videos/{name}/from_timestamp": 0.0, f"videos/{name}/to_timestamp": length / self.fps}
        row |= self._episode_statistics(columns)
        row |= {column: getattr(timing, name) for column, name in TIMING_COLUMNS.items()}
        row |= layout.location("meta/episodes", episode)
        entry = pa.Table.from_pylist([row])
        self._write(str(layout.place(Path(), layout.EPISODES_PATH, episode)), partial(pq.write_table, entry))
        # Counted here first: a writer that lags behind info.json would write over an episode that is finished.
        self.num_episodes += 1
        self.num_frames += length
        try:
            self._write_info(finished=episode)
        except DatasetError:
            self.num_episodes, self.num_frames = episode, self.num_frames - length
            raise
        return episode

    # -- pieces -----------------------------------------------------------------------------------

    def _begin(self, resume: bool) -> None:
        """Take up the dataset that is there, or begin one."""
        if resume and (self.root / layout.INFO).is_file():
            self._continue()
            return
        if resume:
            self._clear_beginning()
        if any(self.root.iterdir()):
            raise DatasetError(
                f"The folder '{self.root}' already holds something; a new dataset needs a folder of its own."
            )
        self._write(layout.CONTRACT, self.contract.save)
        self._task_numbers([] if self._task is None else [self._task])
        if self._extra or self._metadata:
            self._write_ours()
        self._write_info()

    def _open_recorder(self) -> EpisodeRecorder | None:
        recorder = self._recorder() if self._recorder is not None else None
        return recorder if recorder is not None and recorder.is_open else None

    def _require_none_open(self) -> None:
        if self._open_recorder() is not None:
            raise DatasetError(f"Episode {self.num_episodes} is still open; finish() or abort() ends it.")

    def _checked_texts(self, task: str | Sequence[str] | None, length: int) -> list[str]:
        tasks = self._task if task is None else task
        here = f"Episode {self.num_episodes}"
        if tasks is None:
            raise DatasetError(f"{here} has no instruction; task= of the writer or of the episode gives one.")
        texts = [tasks] * length if isinstance(tasks, str) else [str(text) for text in tasks]
        if len(texts) != length or not all(texts):
            raise DatasetError(f"{here} has {len(texts)} instructions for {length} frames, or empty ones.")
        return texts

    def _checked_length(self, frames: Mapping[str, Frames]) -> int:
        here = f"Episode {self.num_episodes}"
        wanted = {feature.name for feature in self.features}
        if set(frames) != wanted:
            raise DatasetError(
                f"{here} has the features {', '.join(sorted(frames))}; the contract says {', '.join(sorted(wanted))}."
            )
        lengths = {name: values.shape[0] for name, values in frames.items()}
        if len(set(lengths.values())) != 1 or not min(lengths.values()):
            raise DatasetError(f"{here} has features of unequal or no length: {lengths}.")
        for feature in self.features:
            values = frames[feature.name]
            found = getattr(values, "dtype", np.dtype("uint8"))
            if tuple(values.shape[1:]) != feature.shape or found != np.dtype(feature.dtype):
                raise DatasetError(
                    f"{here}: feature '{feature.name}' is {found}{tuple(values.shape[1:])} per frame; "
                    f"the contract says {feature.dtype}{feature.shape}."
                )
            if found.kind == "f" and not np.isfinite(values[:]).all():
                raise DatasetError(f"{here}: feature '{feature.name}' holds values that are not finite.")
        return lengths.popitem()[1]

    def _is_as_asked(self, video: StoredVideo) -> bool:
        return video.fps == self.fps and VideoReader(video.path, video.fps).index.coding == self.codec

    def _checked_stamps(self, stamps_ns: np.ndarray | None, length: int) -> np.ndarray:
        if stamps_ns is None:
            return np.arange(length, dtype=np.int64) * round(1e9 / self.fps)
        stamps_ns = np.asarray(stamps_ns, np.int64)
        if stamps_ns.shape != (length,) or (np.diff(stamps_ns) < 0).any():
            raise DatasetError(
                f"Episode {self.num_episodes} has {len(stamps_ns)} stamps for {length} frames, or stamps that go back in time."
            )
        return stamps_ns

    def _data_table(self, columns: Mapping[str, Any], stamps_ns: np.ndarray, tasks: np.ndarray) -> pa.Table:
        count = len(stamps_ns)
        index = np.arange(count)
        whole: dict[str, Any] = {
            **columns,
            layout.STAMP: stamps_ns,
            "timestamp": (index / self.fps).astype(np.float32),
            "frame_index": index,
            "episode_index": np.full(count, self.num_episodes),
            "index": self.num_frames + index,
            "task_index": tasks,
        }
        arrays = []
        for field in self._schema:
            values = whole[field.name]
            if field.type == layout.PICTURE_FILE:
                arrays.append(pa.array([{"bytes": data, "path": None} for data in values], field.type))
            else:
                arrays.append(layout.to_arrow(values[:], field.type))
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _episode_statistics(self, columns: Mapping[str, Any]) -> dict[str, list[Any]]:
        """``stats/FEATURE/NAME`` as LeRobot keeps them for each episode: flat lists, pictures nested."""
        row: dict[str, list[Any]] = {}
        for feature in self.features:
            if layout.is_picture(feature):
                continue
            for name, value in feature_statistics(columns[feature.name][:]).items():
                row[f"stats/{feature.name}/{name}"] = np.atleast_1d(value).reshape(-1).tolist()
        return row

    def _task_numbers(self, texts: Sequence[str]) -> np.ndarray:
        """Their numbers; new ones are in tasks.parquet before any episode names them."""
        new = [text for text in dict.fromkeys(texts) if text not in self._tasks]
        if new or not (self.root / layout.TASKS).exists():
            self._write(layout.TASKS, partial(pq.write_table, layout.tasks_table([*self._tasks, *new])))
            self._tasks += new
        numbers = {text: number for number, text in enumerate(self._tasks)}
        return np.array([numbers[text] for text in texts], np.int64)

    def _write_info(self, finished: int = 0) -> None:
        text = json.dumps(self._info(), indent=1)
        self._write(layout.INFO, lambda path: path.write_text(text), finished)

    def _info(self) -> dict[str, Any]:
        videos = any(entry["dtype"] == "video" for entry in self._table.values())
        return {
            "codebase_version": layout.VERSION,
            "robot_type": self._robot_type,
            "total_episodes": self.num_episodes,
            "total_frames": self.num_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{self.num_episodes}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH if videos else None,
            "features": self._table,
        }

    def _ours(self) -> dict[str, Any]:
        return {"metadata": self._metadata, "extra_features": layout.to_plain(self._extra), "splits": self.splits}

    def _write_ours(self) -> None:
        text = json.dumps(self._ours(), indent=1, sort_keys=True)
        self._write(layout.OURS, lambda path: path.write_text(text))

    def _continue(self) -> None:
        """Take over the counts of the dataset that is there, or refuse it naming what differs."""
        try:
            info = json.loads((self.root / layout.INFO).read_text())
            self.num_episodes, self.num_frames = int(info["total_episodes"]), int(info["total_frames"])
            ours_path = self.root / layout.OURS
            ours = layout.NOTHING_OURS | (json.loads(ours_path.read_text()) if ours_path.is_file() else {})
            self._tasks = pq.read_table(self.root / layout.TASKS)["task"].to_pylist()
            self.splits = dict(ours["splits"])
            told = info | {"total_tasks": len(self._tasks)}  # a task may be new when its episode was cut off
            pairs = {
                "contract": (PolicyContract.load(self.root / layout.CONTRACT), self.contract),
                "task": (self._task is None or self._task in self._tasks, True),
                "extra features": (ours["extra_features"], layout.to_plain(self._extra)),
                "metadata": (ours["metadata"], json.loads(json.dumps(self._metadata))),
                "robot, codec or layout": (told, json.loads(json.dumps(self._info()))),
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

    def _clear_beginning(self) -> None:
        """Delete what a writer leaves that is killed before info.json says that there is a dataset, if it is nothing more."""
        ours = [self.root / name for name in (layout.CONTRACT, layout.TASKS, layout.OURS, layout.INFO)]
        ours += [part_of(path) for path in ours]
        if all(path in ours for path in self.root.rglob("*") if path != self.root / "meta"):
            for path in ours:
                path.unlink(missing_ok=True)
            if (self.root / "meta").is_dir():
                (self.root / "meta").rmdir()

    def _write(self, name: str, write: Any, finished: int | None = None) -> None:
        count = self.num_episodes if finished is None else finished
        write_durably(self.root / name, write, f"the {count} finished episodes are safe")

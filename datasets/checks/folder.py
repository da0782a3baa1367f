"""A LeRobot dataset's folder as it is found: what can be read of its metadata, and findings for what cannot."""

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from praxon.contract import Feature, PolicyContract
from praxon.datasets import lerobot_format as layout
from praxon.datasets.checks.finding import Finding
from praxon.datasets.lerobot_index import EPISODES_GLOB, READABLE, Entry, check_template, read_features
from praxon.datasets.metadata_files import MAX_TEXT_BYTES, read_json, read_table
from praxon.errors import ContractError, DatasetError

MOST = 2**53
"""Larger counts and numbers of files are refused: they are no counts."""
EPISODES_V2, TASKS_V2, STATS_V2 = "meta/episodes.jsonl", "meta/tasks.jsonl", "meta/episodes_stats.jsonl"


@dataclass(frozen=True)
class Track:
    """Files in which episodes lie: episode i in ``files[file_of[i]]``, for a camera from ``from_s[i]`` to ``to_s[i]`` [s]."""

    files: tuple[str, ...]
    file_of: np.ndarray
    from_s: np.ndarray
    to_s: np.ndarray

    def owners(self, number: int) -> np.ndarray:
        """Rows of the episode table that lie in file ``number``."""
        return np.flatnonzero(self.file_of == number)


@dataclass(frozen=True)
class Episodes:
    """The table of episodes, row by row as it is found.

    Attributes:
        index, length, start, stop: (n,) int64; ``start`` and ``stop`` are the ranges of frames.
        tasks: instructions of each, or ``None`` where the table has none.
        data: where the rows are; times are not used.
        videos: camera -> where the pictures are.
        tables: files of the table, relative.
        table_of: (n,) which of them.
    """

    index: np.ndarray
    length: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    tasks: tuple[tuple[str, ...], ...] | None
    data: Track
    videos: dict[str, Track]
    tables: tuple[str, ...]
    table_of: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


@dataclass
class Folder:
    """What is known of a dataset before its data are read.

    Attributes:
        episodes: ``None`` where the table cannot be used.
        whole: every part of the table of episodes could be read, so that what it does not name belongs to nobody.
        tasks: instructions by number; ``None`` where the table cannot be used.
        contract: of a dataset written by us; ``None`` where there is none or it cannot be read.
        splits: lists of episodes in our own praxon.json.
        bad_tables: files of the table of episodes that cannot be read.
    """

    root: Path
    info: dict[str, Any]
    version: str
    fps: float
    features: dict[str, Entry]
    episodes: Episodes | None = None
    whole: bool = True
    tasks: tuple[str, ...] | None = None
    contract: PolicyContract | None = None
    splits: dict[str, list[int]] = field(default_factory=dict)
    bad_tables: list[str] = field(default_factory=list)

    @property
    def cameras(self) -> list[str]:
        """Features stored as video."""
        return [entry.name for entry in self.features.values() if entry.dtype == "video"]

    @property
    def trusted(self) -> bool:
        """Whether the table of episodes is whole and in order."""
        episodes = self.episodes
        return self.whole and episodes is not None and bool((episodes.index == np.arange(len(episodes))).all())

    def is_joint(self, name: str) -> bool:
        """Whether a feature holds the robot's own state or commands, component by component."""
        if self.contract is not None:
            kinds = {feature.name: feature.kind for feature in self.contract}
            return kinds.get(name, "") in ("joint_position", "joint_velocity") or name in (
                "action",
                "observation.state",
            )
        return name in ("action", "observation.state")


def is_file(path: Path) -> bool:
    """Whether a path names a file; no path, however odd, is an error."""
    return os.path.isfile(path)


def open_folder(root: Path) -> tuple[Folder | None, list[Finding]]:
    """What can be known of a folder, and what is wrong with it; no ``Folder`` where nothing more can be checked."""
    if not is_file(root / layout.INFO):
        return None, [Finding("info_missing", layout.INFO, f"There is no {layout.INFO}, which every dataset has.")]
    try:
        info = read_json(root / layout.INFO)
    except DatasetError as error:
        return None, [Finding("info_unreadable", layout.INFO, str(error))]
    version = str(info.get("codebase_version"))
    if version not in READABLE:
        sentence = f"The dataset has version {version[:40]!r}; known are {', '.join(READABLE)}."
        return None, [Finding("version", layout.INFO, sentence)]
    try:
        features, fps = read_features(info), _rate(info)
        for name in ("total_episodes", "total_frames", "total_tasks"):
            whole_number(info, name)
        if version != "v3.0":
            whole_number({"chunks_size": layout.FILES_PER_CHUNK, **info}, "chunks_size", least=1)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        sentence = f"it has no entry {error}" if isinstance(error, KeyError) else str(error)
        return None, [Finding("info_entries", layout.INFO, f"{layout.INFO} cannot be used: {sentence[:300]}.")]
    folder = Folder(root, info, version, fps, features)
    found = _check_templates(folder)
    if found:
        return None, found
    found += _read_tasks(folder) + _read_contract(folder)
    found += _read_episodes_v3(folder) if version == "v3.0" else _read_episodes_v2(folder)
    return folder, found


def whole_number(entries: dict[str, Any], name: str, least: int = 0) -> int:
    """A count in info.json; ``KeyError`` or ``ValueError`` where it is none."""
    value = entries[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < MOST:
        raise ValueError(f"{name} is {str(value)[:40]!r}; a whole number of at least {least} is expected")
    return value


def _rate(info: dict[str, Any]) -> float:
    value = info["fps"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise ValueError(f"fps is {str(value)[:40]!r}; a positive rate is expected")
    return float(value)


def _check_templates(folder: Folder) -> list[Finding]:
    fields = {"chunk_index", "file_index"} if folder.version == "v3.0" else {"episode_chunk", "episode_index"}
    asked = {"data_path": fields} | ({"video_path": fields | {"video_key"}} if folder.cameras else {})
    found = []
    for name, known in asked.items():
        template = folder.info.get(name)
        if not isinstance(template, str):
            found.append(Finding("template", layout.INFO, f"{name} is {str(template)[:40]!r}; a path is expected."))
            continue
        try:
            check_template(template, known)
            template.format(**dict.fromkeys(known, 0))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError) as error:
            found.append(Finding("template", layout.INFO, f"{name} cannot be used: {str(error)[:300]}."))
    return found


def _read_tasks(folder: Folder) -> list[Finding]:
    name = layout.TASKS if folder.version == "v3.0" else TASKS_V2
    try:
        if folder.version == "v3.0":
            table = read_table(folder.root / name)
            texts = next((n for n in ("task", "__index_level_0__") if n in table.column_names), None)
            if texts is None or "task_index" not in table.column_names:
                raise ValueError(f"its columns are {', '.join(table.column_names)}; task and task_index are expected")
            pairs = list(zip(table["task_index"].to_pylist(), table[texts].to_pylist(), strict=True))
        else:
            pairs = [(row["task_index"], row["task"]) for row in read_lines(folder.root / name)]
        numbers = [number for number, _ in pairs]
        if not all(type(number) is int for number in numbers) or sorted(numbers) != list(range(len(numbers))):
            raise ValueError(f"its numbers are not 0 to {len(numbers) - 1}")
        if not all(isinstance(text, str) for _, text in pairs):
            raise ValueError("an instruction is no text")
    except (DatasetError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        return [Finding("tasks", name, f"The table of tasks cannot be used: {_line(error)}.")]
    folder.tasks = tuple(text for _, text in sorted(pairs))
    return []


def _read_contract(folder: Folder) -> list[Finding]:
    """Our own additions, where there are any, say the same as info.json."""
    path = folder.root / layout.CONTRACT
    if not is_file(path):
        if layout.STAMP not in folder.features or folder.version != layout.VERSION:
            return []
        sentence = f"There is no {layout.CONTRACT}, though the column {layout.STAMP} is Praxon's; one is inferred, without units."
        return [Finding("contract_missing", layout.CONTRACT, sentence)]
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise ContractError("it is far larger than a contract")
        contract = PolicyContract.load(path)
        ours = layout.NOTHING_OURS | (
            read_json(folder.root / layout.OURS) if is_file(folder.root / layout.OURS) else {}
        )
        extra = [Feature(**each) for each in ours["extra_features"]]
        for feature in (*contract, *extra):
            entry = folder.features.get(feature.name)
            if entry is None:
                raise ValueError(f"it has the feature '{feature.name}', which info.json lacks")
            if entry.shape != feature.shape or (entry.names != feature.names and not entry.is_picture):
                raise ValueError(
                    f"it has '{feature.name}' as {feature.shape} of {', '.join(feature.names) or 'unnamed components'}, "
                    f"info.json as {entry.shape} of {', '.join(entry.names) or 'unnamed components'}"
                )
            if entry.dtype not in (feature.dtype, "video", "image"):
                raise ValueError(f"it has '{feature.name}' as {feature.dtype}, info.json as {entry.dtype}")
        rate = 1 / contract.chunk.control_period_s
        if abs(rate / folder.fps - 1) > 1e-6:
            raise ValueError(f"it has {rate:g} frames per second, info.json {folder.fps:g}")
        folder.splits = {str(name): [int(i) for i in episodes] for name, episodes in ours["splits"].items()}
    except (
        *(ContractError, DatasetError, KeyError, TypeError, ValueError, AttributeError),
        *(OSError, RecursionError, OverflowError, ZeroDivisionError),
    ) as error:
        return [Finding("contract", layout.CONTRACT, f"The contract cannot be used: {_line(error)}.")]
    folder.contract = contract
    return []


# -- the table of episodes ------------------------------------------------------------------------------


def _read_episodes_v3(folder: Folder) -> list[Finding]:
    found, tables, names = [], [], []
    for path in sorted(folder.root.glob(EPISODES_GLOB)):
        if path.name.startswith("."):
            continue
        name = path.relative_to(folder.root).as_posix()
        try:
            # The statistics that lie in the same tables are many times larger than the rest.
            table = read_table(path, lambda column: not column.startswith("stats/"))
        except DatasetError as error:
            folder.whole = False
            folder.bad_tables.append(name)
            found.append(Finding("episode_table", name, str(error)))
            continue
        tables.append(table)
        names.append(name)
    try:
        folder.episodes = _episodes_v3(folder, tables, names)
    except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        folder.whole = False
        found.append(
            Finding("episode_table", "meta/episodes", f"The table of episodes cannot be used: {_line(error)}.")
        )
    return found


def _episodes_v3(folder: Folder, tables: Sequence[pa.Table], names: Sequence[str]) -> Episodes:
    def numbers(key: str) -> np.ndarray:
        return _column(tables, key, np.int64)

    index = numbers("episode_index")

    def track(prefix: str, template: str, timed: bool, **fields: str) -> Track:
        chunk, file = numbers(f"{prefix}/chunk_index"), numbers(f"{prefix}/file_index")
        files, file_of = _distinct(chunk, file, lambda c, f: template.format(chunk_index=c, file_index=f, **fields))
        nothing = np.zeros(len(chunk))
        times = [
            _column(tables, f"{prefix}/{end}_timestamp", np.float64) if timed else nothing for end in ("from", "to")
        ]
        return Track(files, file_of, *times)

    told = all("tasks" in table.column_names for table in tables)
    return Episodes(
        index,
        numbers("length"),
        numbers("dataset_from_index"),
        numbers("dataset_to_index"),
        tuple(_texts(each) for table in tables for each in table["tasks"].to_pylist()) if told else None,
        track("data", folder.info["data_path"], timed=False),
        {
            camera: track(f"videos/{camera}", folder.info["video_path"], timed=True, video_key=camera)
            for camera in folder.cameras
        },
        tuple(names),
        np.repeat(np.arange(len(tables)), [table.num_rows for table in tables]),
    )


def _column(tables: Sequence[pa.Table], key: str, kind: type) -> np.ndarray:
    parts: list[np.ndarray] = [np.zeros(0, kind)]
    for table in tables:
        if key not in table.column_names:
            raise ValueError(f"it has no column '{key}'")
        column = table[key]
        whole = pa.types.is_integer(column.type)
        if column.null_count or not (whole or (kind is np.float64 and pa.types.is_floating(column.type))):
            raise ValueError(f"its column '{key}' holds {column.type}, {column.null_count} of them null")
        values = column.to_numpy().astype(kind)
        if not np.isfinite(values).all() or (np.abs(values.astype(np.float64)) > MOST).any():
            raise ValueError(f"its column '{key}' holds numbers that cannot be")
        parts.append(values)
    values = np.concatenate(parts)
    if key.endswith(("chunk_index", "file_index")) and (values < 0).any():
        raise ValueError(f"its column '{key}' holds negative numbers")
    return values


def _distinct(
    chunk: np.ndarray, file: np.ndarray, name: Callable[[int, int], str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """The distinct files in order of appearance, and which of them each episode is in."""
    pairs = np.stack([chunk, file], 1)
    distinct, first, which = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return tuple(name(int(c), int(f)) for c, f in distinct[order]), rank[which.reshape(-1)]


def _read_episodes_v2(folder: Folder) -> list[Finding]:
    try:
        folder.episodes = _episodes_v2(folder)
    except (DatasetError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        folder.whole = False
        folder.bad_tables.append(EPISODES_V2)
        return [Finding("episode_table", EPISODES_V2, f"The table of episodes cannot be used: {_line(error)}.")]
    return []


def _episodes_v2(folder: Folder) -> Episodes:
    rows = read_lines(folder.root / EPISODES_V2)
    counted = [(whole_number(row, "episode_index"), whole_number(row, "length")) for row in rows]
    index = np.array([number for number, _ in counted], np.int64)
    length = np.array([frames for _, frames in counted], np.int64)
    chunks = whole_number({"chunks_size": layout.FILES_PER_CHUNK, **folder.info}, "chunks_size", least=1)

    def track(template: str, **fields: str) -> Track:
        files = tuple(template.format(episode_chunk=int(i) // chunks, episode_index=int(i), **fields) for i in index)
        return Track(files, np.arange(len(files)), np.zeros(len(files)), length / folder.fps)

    stop = np.cumsum(length)
    return Episodes(
        index,
        length,
        stop - length,
        stop,
        tuple(_texts(row.get("tasks")) for row in rows),
        track(folder.info["data_path"]),
        {camera: track(folder.info["video_path"], video_key=camera) for camera in folder.cameras},
        (EPISODES_V2,),
        np.zeros(len(rows), np.int64),
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The mappings of a JSON-lines file; ``DatasetError`` where a line is none."""
    rows = []
    try:
        if not is_file(path):  # a pipe would be waited for
            raise DatasetError(f"'{path}' is missing.")
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise DatasetError(f"'{path}' is larger than {MAX_TEXT_BYTES >> 20} MB; metadata are not.")
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DatasetError(f"Line {number} of '{path}' holds no mapping.")
                rows.append(row)
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"'{path}' cannot be read: {_line(error)}.") from error
    return rows


def read_statistics(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """stats.json as arrays, what is not numbers left out; ``DatasetError`` where it is no mapping of mappings."""
    return statistics_of(read_json(path), path)


def statistics_of(stored: Any, path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Nested lists of numbers as float64 arrays."""
    found: dict[str, dict[str, np.ndarray]] = {}
    if not isinstance(stored, dict) or not all(isinstance(entry, dict) for entry in stored.values()):
        raise DatasetError(f"'{path}' does not give statistics by feature.")
    for feature, entry in stored.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found[feature] = {name: np.array(values, np.float64) for name, values in entry.items()}
        except (TypeError, ValueError, OverflowError, RecursionError, Warning) as error:
            raise DatasetError(f"'{path}' holds statistics of '{feature}' that are no numbers.") from error
    return found


def _texts(tasks: Any) -> tuple[str, ...]:
    return tuple(map(str, tasks)) if isinstance(tasks, (list, tuple)) else ()


def _line(error: BaseException) -> str:
    return (f"no entry {error}" if isinstance(error, KeyError) else " ".join(str(error).split())).rstrip(".")[:300]

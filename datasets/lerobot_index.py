"""What a LeRobot dataset says of itself: its features, and where each episode's rows and pictures lie (v3.0, v2.1, v2.0).

Nothing is believed that leads out of the folder: paths come from templates whose fields are checked, and every number
is checked before it is used.
"""

import json
import os
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from praxon.datasets import lerobot_format as layout
from praxon.datasets.metadata_files import read_json, read_table
from praxon.errors import DatasetError

MAX_NAME = 200
"""Characters of a feature's name or a template; file systems end at 255."""
READABLE = ("v3.0", "v2.1", "v2.0")
MAX_DIMENSIONS = 5
NUMBERS = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)
EPISODES_GLOB = "meta/episodes/*/*.parquet"


@dataclass(frozen=True)
class Entry:
    """One feature as info.json has it.

    Args:
        name: of the column or the camera.
        dtype: a numpy name, ``video``, ``image`` or ``string``.
        shape: of one frame; pictures are (height, width, channels) here, whatever order the file has.
        names: of the components, or empty.
        info: what is said of the video.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def is_picture(self) -> bool:
        """Whether it holds pictures."""
        return self.dtype in ("video", "image")


@dataclass(frozen=True)
class VideoTrack:
    """One camera's episodes: episode i begins ``from_s[i]`` seconds into ``files[file_of[i]]``."""

    files: tuple[Path, ...]
    file_of: np.ndarray
    from_s: np.ndarray


@dataclass(frozen=True)
class DatasetIndex:
    """Where everything is.

    Attributes:
        root: folder of the dataset.
        info: info.json.
        version: v3.0, v2.1 or v2.0.
        fps: frames per second, as labelled.
        features: name -> entry, in order, index columns included.
        tasks: instructions, at the positions that ``task_index`` points to.
        episode_tasks: the instructions of each episode.
        lengths: (num_episodes,) frames.
        data_files: Parquet files in the order of their episodes.
        data_file_of: (num_episodes,) which of ``data_files``, not decreasing.
        videos: camera -> where its episodes are.
    """

    root: Path
    info: dict[str, Any]
    version: str
    fps: float
    features: dict[str, Entry]
    tasks: tuple[str, ...]
    episode_tasks: tuple[tuple[str, ...], ...]
    lengths: np.ndarray
    data_files: tuple[Path, ...]
    data_file_of: np.ndarray
    videos: dict[str, VideoTrack]

    @cached_property
    def ends(self) -> np.ndarray:
        """(num_episodes,) index after each episode's last frame."""
        return np.cumsum(self.lengths)


def read_index(root: Path) -> DatasetIndex:
    """The index of the dataset in ``root``.

    Raises:
        DatasetError: missing, of another version, or with entries that are missing, malformed or contradictory.
    """
    root = Path(root)
    info = read_info(root)
    version = str(info.get("codebase_version"))
    if version not in READABLE:
        raise DatasetError(f"The dataset '{root}' has version {version[:40]}; {', '.join(READABLE)} can be read.")
    try:
        features = read_features(info)
        fps = float(info["fps"])
        totals = int(info["total_episodes"]), int(info["total_frames"])
        if not 0 < fps < 1e6 or min(totals) < 0:
            raise ValueError(f"fps is {fps}, totals are {totals}")
        if totals[0] == 0:
            raise DatasetError(f"The dataset '{root}' holds no finished episode.")
        read = _episodes_v3 if version == "v3.0" else _episodes_v2
        index = read(root, info, version, fps, features, totals[0])
    except (KeyError, TypeError, ValueError, ArithmeticError, IndexError, AttributeError, RecursionError) as error:
        sentence = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"The metadata of '{root}' cannot be used: {sentence}.") from error
    if int(index.lengths.sum()) != totals[1]:
        raise DatasetError(
            f"The episodes of '{root}' have {index.lengths.sum()} frames; its info.json says {totals[1]}."
        )
    return index


def read_info(root: Path) -> dict[str, Any]:
    """info.json as it is; ``DatasetError`` where there is none or it is no mapping."""
    if not (root / layout.INFO).is_file():
        inside = root / "dataset"
        advice = "praxon collect writes one, praxon data convert makes one of other formats"
        if (inside / layout.INFO).is_file():
            advice = f"there is one in '{inside}'"
        raise DatasetError(f"There is no dataset at '{root}' ({layout.INFO} is missing); {advice}.")
    return read_json(root / layout.INFO)


def read_features(info: dict[str, Any]) -> dict[str, Entry]:
    """The feature table of info.json, checked."""
    features = {}
    for name, said in info["features"].items():
        if len(name) > MAX_NAME or not layout.is_folder_name(name):
            raise ValueError(f"the feature name {name[:MAX_NAME]!r} is not one that can be a folder")
        dtype, shape = said["dtype"], tuple(said["shape"])
        if dtype not in (*NUMBERS, "video", "image", "string"):
            raise ValueError(
                f"feature '{name}' has dtype {dtype!r}; known are {', '.join(NUMBERS)}, video, image, string"
            )
        if len(shape) > MAX_DIMENSIONS or any(type(n) is not int or not 0 < n < 2**31 for n in shape):
            raise ValueError(
                f"feature '{name}' has shape {list(shape)}; up to {MAX_DIMENSIONS} positive sizes are expected"
            )
        names = _flat_names(said.get("names"))
        if dtype in ("video", "image"):
            shape = _picture_shape(name, shape, names)
        if names and (len(shape) != 1 or len(names) != shape[0] or len(set(names)) != len(names)):
            names = ()
        told = said.get("info") or said.get("video_info") or {}
        features[name] = Entry(name, dtype, shape or (1,), names, dict(told))
    missing = [name for name in layout.INDEX_COLUMNS if name not in features]
    if missing:
        raise ValueError(f"the features {', '.join(missing)} are missing, which every dataset has")
    return features


# -- version 3.0: episodes share files ----------------------------------------------------------------


def _episodes_v3(
    root: Path, info: dict[str, Any], version: str, fps: float, features: dict[str, Entry], count: int
) -> DatasetIndex:
    cameras = [entry.name for entry in features.values() if entry.dtype == "video"]
    keys = ["episode_index", "length", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index"]
    for camera in cameras:
        keys += [f"videos/{camera}/{key}" for key in ("chunk_index", "file_index", "from_timestamp")]
    # The statistics that lie in the same tables are many times larger than the rest.
    tables = [
        read_table(path, lambda name: name in keys or name == "tasks") for path in sorted(root.glob(EPISODES_GLOB))
    ]
    rows = {key: _numbers(tables, key, count) for key in keys}
    if (rows["episode_index"] != np.arange(count)).any():
        raise ValueError(f"the episode table does not list the episodes 0 to {count - 1} in order")
    lengths, starts = rows["length"], rows["dataset_from_index"]
    if (lengths <= 0).any() or (rows["dataset_to_index"] - starts != lengths).any():
        raise ValueError("an episode's length is not the length of its range of frames")
    if (starts != np.cumsum(lengths) - lengths).any():
        raise ValueError("the episodes' ranges of frames do not follow one another")
    told = [texts for table in tables if "tasks" in table.column_names for texts in table["tasks"].to_pylist()][:count]
    files, file_of = _files(
        root,
        str(info["data_path"]),
        [
            {"chunk_index": c, "file_index": f}
            for c, f in zip(rows["data/chunk_index"], rows["data/file_index"], strict=True)
        ],
    )
    if (np.diff(file_of) < 0).any():
        raise ValueError("the episodes of a data file do not follow one another")
    videos = {}
    for camera in cameras:
        chunk, file = (rows[f"videos/{camera}/{key}"] for key in ("chunk_index", "file_index"))
        fields = [{"video_key": camera, "chunk_index": c, "file_index": f} for c, f in zip(chunk, file, strict=True)]
        videos[camera] = VideoTrack(
            *_files(root, str(info["video_path"]), fields), rows[f"videos/{camera}/from_timestamp"]
        )
    return DatasetIndex(
        root,
        info,
        version,
        fps,
        features,
        _tasks_v3(root),
        _episode_tasks(told, count),
        lengths,
        files,
        file_of,
        videos,
    )


def _tasks_v3(root: Path) -> tuple[str, ...]:
    table = read_table(root / layout.TASKS)
    names = table.column_names
    texts = next((name for name in ("task", "__index_level_0__") if name in names), None)
    if texts is None or "task_index" not in names:
        raise ValueError(f"{layout.TASKS} has the columns {', '.join(names)}; task and task_index are expected")
    return _ordered_tasks(table["task_index"].to_pylist(), table[texts].to_pylist())


def _numbers(tables: Sequence[pa.Table], key: str, count: int) -> np.ndarray:
    """The first ``count`` values of a column over all tables; more may be there when a writer was killed in between."""
    kind = np.float64 if key.endswith("timestamp") else np.int64
    parts = []
    for table in tables:
        if key not in table.column_names:
            raise ValueError(f"the episode table has no column '{key}'")
        values = table[key].to_numpy()
        if values.dtype.kind not in "if" or (values.dtype.kind == "f" and not np.isfinite(values).all()):
            raise ValueError(f"the column '{key}' of the episode table holds {values.dtype}; numbers are expected")
        if len(values) and np.abs(values.astype(np.float64)).max() > 2**53:
            raise ValueError(
                f"the column '{key}' of the episode table holds {np.abs(values).max():.3g}, which cannot be"
            )
        parts.append(values.astype(kind))
    values = np.concatenate(parts) if parts else np.zeros(0, kind)
    if len(values) < count:
        raise ValueError(f"info.json says {count} episodes, the episode table lists {len(values)}")
    if count and kind is np.float64 and values[:count].min() < 0:
        raise ValueError(f"the column '{key}' of the episode table holds times before 0")
    return values[:count]


# -- version 2: one file per episode --------------------------------------------------------------------


def _episodes_v2(
    root: Path, info: dict[str, Any], version: str, fps: float, features: dict[str, Entry], count: int
) -> DatasetIndex:
    rows = sorted(_lines(root / "meta/episodes.jsonl"), key=lambda row: int(row["episode_index"]))
    if len(rows) != count or [int(row["episode_index"]) for row in rows] != list(range(count)):
        raise ValueError(f"meta/episodes.jsonl does not list the episodes 0 to {count - 1}, as info.json says")
    lengths = np.array([int(row["length"]) for row in rows], np.int64)
    if (lengths <= 0).any():
        raise ValueError("an episode has no frames")
    tasks = _lines(root / "meta/tasks.jsonl")
    chunk = int(info.get("chunks_size", layout.FILES_PER_CHUNK))
    numbers = [{"episode_chunk": episode // chunk, "episode_index": episode} for episode in range(count)]
    videos = {}
    for name, entry in features.items():
        if entry.dtype == "video":
            fields = [{"video_key": name, **number} for number in numbers]
            videos[name] = VideoTrack(*_files(root, str(info["video_path"]), fields), np.zeros(count))
    files, file_of = _files(root, str(info["data_path"]), numbers)
    texts = _ordered_tasks([row["task_index"] for row in tasks], [row["task"] for row in tasks])
    told = _episode_tasks([row.get("tasks", ()) for row in rows], count)
    return DatasetIndex(root, info, version, fps, features, texts, told, lengths, files, file_of, videos)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not os.path.isfile(path):  # a pipe would be waited for
        raise DatasetError(f"'{path}' cannot be read: No such file.")
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return rows


# -- pieces ---------------------------------------------------------------------------------------------


def _files(root: Path, template: str, fields: Sequence[dict[str, Any]]) -> tuple[tuple[Path, ...], np.ndarray]:
    """The distinct files of a template in order of appearance, and which of them each set of fields names."""
    check_template(template, set(fields[0]) if fields else set())
    known: dict[str, int] = {}
    numbers = [known.setdefault(template.format(**each), len(known)) for each in fields]
    return tuple(root / path for path in known), np.array(numbers, np.int64)


def check_template(template: str, fields: set[str]) -> None:
    """``ValueError`` unless a file template stays inside the folder and uses only these fields, as plain numbers or names."""
    for _, name, spec, conversion in string.Formatter().parse(template):
        if name is not None and (
            name not in fields or conversion or len(spec or "") > 4 or set(spec or "") - set("0123456789d")
        ):
            raise ValueError(
                f"the path template {template[:200]!r} is refused; its fields may be {', '.join(sorted(fields))}"
            )
    path = PurePosixPath(template)
    if (
        len(template) > MAX_NAME
        or path.is_absolute()
        or ".." in path.parts
        or not template
        or "\0" in template
        or "\\" in template
    ):
        raise ValueError(f"the path template {template[:200]!r} leads out of the dataset's folder")


def _ordered_tasks(numbers: Sequence[Any], texts: Sequence[Any]) -> tuple[str, ...]:
    if sorted(numbers) != list(range(len(numbers))) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"the tasks are not texts numbered 0 to {len(numbers) - 1}")
    return tuple(text for _, text in sorted(zip(numbers, texts, strict=True)))


def _episode_tasks(told: Sequence[Any], count: int) -> tuple[tuple[str, ...], ...]:
    rows = [tuple(map(str, texts or ())) for texts in told]
    return tuple(rows) if len(rows) == count else ((),) * count


def _flat_names(names: Any) -> tuple[str, ...]:
    """Component names, which are a list, a list in a mapping ({"motors": [...]}), or nothing."""
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _picture_shape(name: str, shape: tuple[int, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise ValueError(f"the pictures '{name}' have shape {list(shape)}; height, width and channels are expected")
    first = names[0] if len(names) == 3 else ""
    if first.startswith("channel") or (not first and shape[0] in (1, 3) and shape[2] not in (1, 3)):
        return (shape[1], shape[2], shape[0])
    return shape
